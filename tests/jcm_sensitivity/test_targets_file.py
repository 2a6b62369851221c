"""Targets from tables of a TOML file."""

import tomllib

import pytest

from jcm_sensitivity import between, index, last, mean, region
from jcm_sensitivity.targets_file import target_from_table


def read(text):
    return target_from_table(tomllib.loads(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('variable = "precipitation_flux"\nregion = "sahel"\nmask = "land"',
         mean("precipitation_flux", region="sahel", mask="land")),
        ('variable = "air_temperature"\nlevels = [5, 6, 7]\ndays = { last = 1 }',
         mean("air_temperature", levels=[5, 6, 7], days=last(1))),
        ('variable = "air_temperature"\nlevels = "column"\nweighting = "mass"',
         mean("air_temperature", levels="column", weighting="mass")),
        ('variable = "air_temperature"\npressure = 500',
         mean("air_temperature", pressure=500)),
        ('variable = "air_temperature"\nlevel = 3\ndays = { between = [3, 5.0] }',
         mean("air_temperature", level=3, days=between(3, 5))),
        ('index = "itcz_latitude"\npower = 2\nregion = [-20, 20, 160, -100]\ndays = { last = 2 }',
         index("itcz_latitude", power=2, region=region([-20, 20, 160, -100]), days=last(2))),
        ('index = "jet_speed"\nhemisphere = "south"\nlevel = 3',
         index("jet_speed", hemisphere="south", level=3)),
        ('difference = [\n{ index = "jet_latitude" },\n{ index = "itcz_latitude", power = 1 } ]',
         index("jet_latitude") - index("itcz_latitude", power=1)),
        ('ratio = [ { index = "global_mean_precipitation" }, '
         '{ index = "global_mean_temperature" } ]\nname = "efficiency"',
         (index("global_mean_precipitation") / index("global_mean_temperature"))
         .named("efficiency")),
        ('sum = [ { difference = [ { index = "nino34_index" }, { index = "nino34_index" } ] }, '
         '{ index = "nino34_index" } ]',
         index("nino34_index") - index("nino34_index") + index("nino34_index")),
    ],
)  # fmt: skip
def test_tables_say_what_the_functions_say(text, expected):
    assert read(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs a variable.*index.*difference.*got nothing"),
        ('variable = "precipitation_flux"\nregionn = "sahel"', "did you mean region"),
        ('variable = "precipitation_flux"\nindex = "itcz_latitude"', "variable and index"),
        ('variable = "precipitation_flux"\nmask = "ocean"', "unknown mask"),
        ('variable = "precipitation_flux"\nmask = 3', "'land' or 'sea'"),
        ('variable = "air_temperature"\nlevels = 3', "list of numbers"),
        ('variable = "air_temperature"\nlevels = [1.5]', "list of numbers"),
        ('variable = "air_temperature"\npressure = "low"', "pressure is a number"),
        ('variable = "air_temperature"\nlevel = 3\npressure = 500', "give one of"),
        ("variable = 3", "variable is a name"),
        ('index = "itcz"', "did you mean itcz_latitude"),
        ('index = "itcz_latitude"\nmask = "land"', "has no 'mask'"),
        ('index = "itcz_latitude"\npower = "ten"', "power is a number"),
        ('index = "global_mean_temperature"\nregion = "sahel"', "has no 'region'"),
        ('difference = [ { index = "itcz_latitude" } ]', "list of two tables"),
        ('difference = "both"', "list of two tables"),
        ('difference = [ { index = "itcz_latitude" }, { index = "jet_speed" } ]',
         "units do not match: 'degrees_north'.*'m s-1'"),
        ('ratio = [ { index = "itcz_latitude" }, { index = "jet_speed" } ]\ndays = { last = 1 }',
         "no key 'days'"),
        ('variable = "precipitation_flux"\nname = 3', "name is text"),
    ],
)  # fmt: skip
def test_tables_without_meaning_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        read(text)
