"""The table of output variables: complete, and as CF writes it."""

import re

import equinox as eqx
import numpy as np
import pytest

import jcm
from jcm.initial import state_at_rest
from jcm.variables import VARIABLES

#: Names near the surface share a CF name with the fields on levels.
NAMED_TWICE = {"air_temperature", "eastward_wind", "northward_wind"}


def outputs(physics: str) -> dict:
    """Shapes of all fields, found without running."""
    model = jcm.build_model("T21L5", physics=physics)

    forcing = jcm.aquaplanet_forcing(model.grid, gravity=model.constants.gravity)
    parameters = jcm.reference_parameters(model)

    def fields():
        state = state_at_rest(model, parameters, forcing)
        inputs = jcm.Inputs(parameters, forcing, state)
        return jcm.simulate(model, inputs, days=1 / model.steps_per_day)[1]

    return eqx.filter_eval_shape(fields)


@pytest.fixture(scope="module")
def speedy() -> dict:
    return outputs("speedy")


def test_the_table_has_exactly_the_outputs_of_speedy_and_held_suarez(speedy):
    assert set(speedy) | {"equilibrium_temperature"} == set(VARIABLES)


def test_held_suarez_adds_its_equilibrium_temperature_and_nothing_else(speedy):
    assert set(outputs("held_suarez")) - set(speedy) == {"equilibrium_temperature"}


def test_dimensions_are_those_of_the_fields(speedy):
    found = {name: "3d" if len(x.shape) == 4 else "2d" for name, x in speedy.items()}
    assert found == {name: VARIABLES[name].dims for name in speedy}


def test_net_fluxes_are_the_sums_of_their_parts(small_model, small_inputs):
    budgets = {
        "toa_net_downward_radiative_flux": {
            "toa_net_downward_shortwave_flux": 1, "toa_outgoing_longwave_flux": -1},
        "surface_net_downward_heat_flux": {
            "surface_net_downward_shortwave_flux": 1, "surface_net_downward_longwave_flux": 1,
            "surface_upward_sensible_heat_flux": -1, "surface_upward_latent_heat_flux": -1},
    }  # fmt: skip
    names = [name for net, parts in budgets.items() for name in (net, *parts)]
    days = 4 / small_model.steps_per_day
    _, fields = jcm.simulate(small_model, small_inputs, days=days, observe=names)
    for net, parts in budgets.items():
        total = sum(sign * fields[name] for name, sign in parts.items())
        np.testing.assert_allclose(fields[net], total, atol=1e-9)
        assert float(abs(fields[net]).max()) > 100


@pytest.mark.parametrize("name", VARIABLES)
def test_units_are_written_as_cf_writes_them(name):
    unit = r"(kg|m|s|K|Pa|W)(-?[2-9]|-1)?"
    assert re.fullmatch(rf"1|{unit}( {unit})*", VARIABLES[name].units)


@pytest.mark.parametrize("name", VARIABLES)
def test_energy_fluxes_say_which_way_is_positive(name):
    variable = VARIABLES[name]
    assert variable.long_name
    if variable.units == "W m-2":
        way = "down" if re.search(r"down|incoming", name) else "up"
        assert variable.positive == way


def test_a_standard_name_stands_for_one_variable_on_levels_or_in_columns():
    named = [(v.standard_name, v.dims) for v in VARIABLES.values() if v.standard_name]
    assert len(named) == len(set(named))
    twice = {name for name, _ in named if sum(name == other for other, _ in named) > 1}
    assert twice == NAMED_TWICE


@pytest.mark.parametrize("name", [name for name in VARIABLES if name.startswith("near_surface_")])
def test_near_surface_fields_say_where_they_are(name):
    assert VARIABLES[name].long_name.endswith("near the surface, at sigma = 0.99")
