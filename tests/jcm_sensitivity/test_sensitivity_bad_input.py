"""What users get wrong: each message says what was expected, what came, and what to do.

Runs cost nothing here: what is refused is refused before a run, or the run is a known function of
the inputs.
"""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from synthetic import SST, cheap_inputs, mirror
from typer.testing import CliRunner, Result

import jcm
import jcm_sensitivity as js
from jcm_sensitivity import adjoint, cli
from jcm_sensitivity.experiment import MapExperiment
from jcm_sensitivity.work import check as check_module

MODEL = jcm.build_model("T21L8")
INPUTS = cheap_inputs(MODEL)
#: Five days that cost nothing, and a day of the model that is never run.
RUN, DAY = mirror(MODEL), js.model_experiment(MODEL, days=1)
RAIN = js.mean("precipitation_flux")
RELAXATION = "parameters.convection.relaxation_time"
DRY_OCEAN = js.box(-50, -40, -130, -110)


class Bad(NamedTuple):
    """What is tried, the error, and what its message must say."""

    attempt: Callable[[], object]
    error: type[Exception]
    words: tuple[str, ...]


def gradient(target=RAIN, inputs=INPUTS, wrt=(SST,), run=RUN, **options):
    return js.sensitivity(run, target, inputs, wrt=list(wrt), **options)


def answer(change):
    return js.response(RUN, INPUTS, change)


def certificate(**options):
    usual = {"names": [SST], "targets": {"rain": RAIN}, "horizons": ["1step"]}
    return js.certify(MODEL, INPUTS, **(usual | options))


def with_value(name, value):
    return jcm.insert(INPUTS, {name: jnp.asarray(value)})


BAD = {
    # Targets
    "unknown variable": Bad(
        lambda: js.mean("precipitation"), ValueError,
        ("unknown variable 'precipitation'", "did you mean", "precipitation_flux", "available")),
    "unknown region": Bad(
        lambda: js.mean("precipitation_flux", region="sahell"), ValueError,
        ("unknown region 'sahell'", "did you mean sahel", "available")),
    "unknown index": Bad(
        lambda: js.index("itcz"), ValueError,
        ("unknown index 'itcz'", "did you mean itcz_latitude", "available")),
    "unknown argument of an index": Bad(
        lambda: js.index("jet_latitude", hemispher="south"), ValueError,
        ("no 'hemispher'", "did you mean hemisphere")),
    "empty box": Bad(
        lambda: js.box(10, 10, 0, 90), ValueError,
        ("region is empty", "south must be below north", "10, 10, 0, 90")),
    "latitude off the globe": Bad(
        lambda: js.box(-10, 100, 0, 90), ValueError, ("-90 to 90", "100")),
    "land where there is none": Bad(
        lambda: gradient(js.mean("precipitation_flux", region=DRY_OCEAN & js.LAND)), ValueError,
        ("region is empty on the grid T21", "land only", "larger box or another mask")),
    "mask of another grid": Bad(
        lambda: gradient(js.mean("precipitation_flux", mask=np.ones((96, 48)))), ValueError,
        ("(96, 48)", "(64, 32)")),
    "period longer than the run": Bad(
        lambda: gradient(js.mean("precipitation_flux", days=js.last(7))), ValueError,
        ("last 7 days", "the run has 5 days", "make the run longer or the period shorter")),
    "period that cuts an output": Bad(
        lambda: gradient(js.mean("precipitation_flux", days=js.between(0, 0.5))), ValueError,
        ("days 0 to 0.5", "a mean of 1 days in two", "choose a smaller interval of output")),
    "period of no length": Bad(
        lambda: js.last(0), ValueError, ("must be positive", "0 days")),
    "level below the ground": Bad(
        lambda: gradient(js.mean("air_temperature", level=8)), ValueError,
        ("levels 0 (top) to 7 (surface)", "got 8")),
    "level of a variable without levels": Bad(
        lambda: js.mean("precipitation_flux", level=7), ValueError,
        ("precipitation_flux has no levels", "level=7")),
    "no level of a variable with levels": Bad(
        lambda: js.mean("air_temperature"), ValueError,
        ("air_temperature has levels", "choose one", "level=0", "pressure=850")),
    "pressure above the top": Bad(
        lambda: gradient(js.mean("air_temperature", pressure=1)), ValueError,
        ("reaches from 25 hPa", "got a pressure of 1 hPa")),
    "difference of unlike units": Bad(
        lambda: RAIN - js.index("global_mean_temperature"), ValueError,
        ("units do not match", "kg m-2 s-1", "'K'", "ratio")),
    "a map is no target": Bad(
        lambda: gradient(js.custom(
            lambda fields: fields["precipitation_flux"], variables=["precipitation_flux"],
            units="kg m-2 s-1")), ValueError, ("single real number", "(5, 64, 32)")),
    "no target": Bad(lambda: gradient([]), ValueError, ("at least one target", "got none")),
    # Inputs
    "unknown input": Bad(
        lambda: gradient(wrt=["forcing.sea_surface_temperatur"]), KeyError,
        ("forcing.sea_surface_temperatur", f"did you mean {SST}")),
    "integer input": Bad(
        lambda: gradient(wrt=["forcing.start_day"]), TypeError,
        ("forcing.start_day", "int", "no derivative")),
    "one name instead of a list": Bad(
        lambda: js.sensitivity(RUN, RAIN, INPUTS, wrt=SST), ValueError,
        ("wrt is a list of names", f"got '{SST}'")),
    "NaN in the boundary conditions": Bad(
        lambda: gradient(inputs=with_value(SST, jnp.full_like(
            INPUTS.forcing.sea_surface_temperature, jnp.nan))), FloatingPointError,
        ("is nan", f"Not finite among the inputs: {SST}", "mend these first")),
    "parameter scaled that is none": Bad(
        lambda: js.scaled(gradient(), INPUTS), ValueError,
        (SST, "is no parameter", "leave it out")),
    # Runs
    "too little memory": Bad(
        lambda: gradient(run=DAY, memory="10MiB"), ValueError,
        ("memory = '10MiB' is too small", "MiB are needed", "raise the limit")),
    "memory without meaning": Bad(
        lambda: gradient(run=DAY, memory="2 gigs"), ValueError,
        ("such as '2GiB'", "got '2 gigs'")),
    "by day of no run of the model": Bad(
        lambda: gradient(by_day=True), ValueError, ("need a run of the model", "model_experiment")),
    "by day of the initial state": Bad(
        lambda: gradient(run=DAY, wrt=["state.air_temperature"], by_day=True), ValueError,
        ("acts on the first day only", SST, "got state.air_temperature")),
    "target without a grid": Bad(
        lambda: gradient(run=lambda inputs: {}), ValueError,
        ("does not know the grid", "model_experiment")),
    # Responses
    "change of a wrong shape": Bad(
        lambda: answer({SST: np.ones((96, 48))}), ValueError,
        ("(96, 48)", "broadcasts to (12, 64, 32)", "mask (lon, lat)")),
    "change that is not finite": Bad(
        lambda: answer({SST: np.inf}), ValueError, (SST, "not finite")),
    "change without a name": Bad(
        lambda: answer({}), ValueError, ("as a mapping", f"{{'{SST}': 1.0}}", "got {}")),
    "NaN in a parameter": Bad(
        lambda: js.response(
            lambda inputs: {"x": inputs.parameters.convection.relaxation_time},
            with_value(RELAXATION, jnp.nan), {RELAXATION: 60.0}), FloatingPointError,
        ("the field x", f"Not finite among the inputs: {RELAXATION}")),
    "curvature along another input": Bad(
        lambda: js.hessian_vector_product(
            RUN, RAIN, INPUTS, wrt=[SST], direction={RELAXATION: 1.0}), ValueError,
        (f"changes inputs of wrt ({SST})", f"got {RELAXATION}")),
    "Jacobian of a field": Bad(
        lambda: js.jacobian(RUN, [RAIN], INPUTS, wrt=[SST]), ValueError,
        ("single numbers", "(12, 64, 32)", "use sensitivity")),
    # Ensembles and horizons
    "no members": Bad(
        lambda: js.ensemble_sensitivity(RUN, RAIN, [], wrt=[SST]), ValueError,
        ("at least one run", "initial_states")),
    "empty batch": Bad(
        lambda: js.ensemble_sensitivity(RUN, RAIN, [INPUTS], wrt=[SST], batch=0), ValueError,
        ("positive number of members", "got 0")),
    "lead that is no whole step": Bad(
        lambda: js.horizon(MODEL, [INPUTS], RAIN, wrt=[SST], leads=[0.01]), ValueError,
        ("leads", "0.01")),
    "amplitude of 0": Bad(
        lambda: js.horizon(MODEL, [INPUTS], RAIN, wrt=[SST], leads=[1], amplitudes=[0.0]),
        ValueError, ("positive sizes of the change", "[0.0]")),
    # Certificates
    "unknown horizon": Bad(
        lambda: certificate(horizons=["1week"]), ValueError,
        ("such as 1step, 6h, 1d or 5d", "got '1week'")),
    "unknown input of a certificate": Bad(
        lambda: certificate(names=["forcing.sst"]), KeyError, ("forcing.sst",)),
    "gradient without floats": Bad(
        lambda: js.check_gradient(lambda x: x, jnp.arange(3)), TypeError,
        ("no floating-point numbers", "int", "convert what shall vary to floats")),
    "function that returns no floats": Bad(
        lambda: js.check_gradient(lambda x: jnp.sum(x > 0), jnp.ones(3)), TypeError,
        ("returns no floating-point numbers",)),
    "point that is not finite": Bad(
        lambda: js.check_gradient(jnp.sum, jnp.array([1.0, jnp.nan])), ValueError,
        ("NaN or infinity", "finite point")),
    "direction that is not finite": Bad(
        lambda: js.check_gradient(jnp.sum, jnp.ones(2), direction=jnp.array([1.0, jnp.inf])),
        ValueError, ("direction must be finite",)),
    "direction of another shape": Bad(
        lambda: js.check_gradient(jnp.sum, jnp.ones(2), direction=jnp.ones(3)), ValueError,
        ("(2,)", "(3,)")),
    "direction of 0": Bad(
        lambda: js.check_gradient(jnp.sum, jnp.ones(2), direction=jnp.zeros(2)), ValueError,
        ("0 everywhere", "changes the point")),
    "two steps are no ladder": Bad(
        lambda: js.check_gradient(jnp.sum, jnp.ones(2), steps=[1e-2, 1e-3]), ValueError,
        ("at least three different positive numbers", "(1e-2, 1e-3, 1e-4)")),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
def test_message_says_what_is_wrong_and_what_to_do(case):
    with pytest.raises(case.error) as caught:
        case.attempt()
    for words in case.words:
        assert words in str(caught.value.args[0]), caught.value


def test_target_that_depends_on_nothing_is_reported():
    target = js.custom(
        lambda fields: 0 * fields["precipitation_flux"].sum(), variables=["precipitation_flux"],
        units="1", description="nothing at all")
    with pytest.warns(UserWarning, match=f"nothing at all.*does not depend on {SST}.*Choose"):
        gradient(target)


def test_change_by_nothing_is_reported():
    with pytest.warns(UserWarning, match=r"is 0 everywhere.*give a change such as 1\.0"):
        answer({SST: 0.0})


def known_result(monkeypatch):
    """Let a run of the model give the value 1 and the gradient 1."""
    monkeypatch.setattr(adjoint, "_values_and_gradients", lambda values, run, targets, *rest: (
        jnp.ones(len(targets)), {name: jnp.ones((len(targets), *x.shape))
                                 for name, x in values.items()}))  # fmt: skip


def test_run_beyond_the_usable_window_is_reported_and_marked(monkeypatch):
    known_result(monkeypatch)
    with pytest.warns(js.HorizonWarning, match="smooth=True.*jcm-sensitivity horizon"):
        result = gradient(run=DAY)
    assert "horizon_warning" in js.to_map(MODEL, result).attrs


def test_run_within_the_usable_window_is_not(monkeypatch):
    known_result(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradient(js.mean("surface_upward_latent_heat_flux"), run=DAY)


def test_windows_of_the_full_physics_are_not_told_of_another(monkeypatch):
    known_result(monkeypatch)
    dry = jcm.build_model("T21L8", physics="held_suarez")
    day = js.model_experiment(dry, days=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        js.sensitivity(day, js.mean("surface_air_pressure"), cheap_inputs(dry), wrt=[
            "parameters.relaxation.free_time"])


# The commands


def invoke(*arguments) -> Result:
    return CliRunner().invoke(cli.app, [str(x) for x in arguments])


def toml(folder: Path, **tables: str) -> Path:
    content = {"model": 'grid = "T21L8"', "run": "days = 1.0",
               "target": 'variable = "precipitation_flux"'} | tables  # fmt: skip
    path = folder / "experiment.toml"
    path.write_text("".join(f"[{table}]\n{lines}\n" for table, lines in content.items()))
    return path


def assert_refused(result: Result, *words: str) -> None:
    """One line, status 1 and no traceback."""
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    message = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(message) == 1, result.stderr
    for text in words:
        assert text in message[0], message[0]


WITH_FILE = ["map", "response", "check", "horizon"]


@pytest.mark.parametrize("command", WITH_FILE)
def test_missing_file_is_named(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_refused(invoke(command, "none.toml"), "none.toml", "give the path of a TOML file")


@pytest.mark.parametrize("command", WITH_FILE)
def test_folder_in_place_of_a_file_is_named(command, tmp_path):
    assert_refused(invoke(command, tmp_path), tmp_path.name)


@pytest.mark.parametrize("command", WITH_FILE)
def test_file_that_is_no_toml_is_named_with_the_line(command, tmp_path):
    path = toml(tmp_path, run="days 1")
    assert_refused(invoke(command, path), "experiment.toml is not valid TOML", "line 4")


@pytest.mark.parametrize(("command", "tables", "words"), [
    ("map", {"target": 'variable = "precipitation_flux"\nregio = "sahel"'},
     ("[target] has no key 'regio'", "did you mean region", "known:")),
    ("map", {"target": 'index = "itcz"'}, ("unknown index 'itcz'", "did you mean itcz_latitude")),
    ("map", {"target": "region = 'sahel'"}, ("needs a variable", "got region")),
    ("map", {"sensitivity": "respect = []"}, ("[sensitivity] has no key 'respect'", "wrt")),
    ("response", {"response": "chang = 1"}, ("[response] has no key 'chang'", "change, region")),
    ("response", {}, ("[response] needs a change", f'"{SST}" = 1.0')),
    ("horizon", {"targets": "x = 1"}, ("unknown table [targets]", "did you mean 'target'")),
])  # fmt: skip
def test_mistake_in_a_file_is_one_line(command, tables, words, tmp_path):
    assert_refused(invoke(command, toml(tmp_path, **tables), "--output", tmp_path), *words)


@pytest.fixture
def known_setup(monkeypatch):
    """The model of this file in place of one that is built."""
    monkeypatch.setattr(check_module, "_setup", lambda *_: (MODEL, INPUTS, {}))
    known = MapExperiment(RUN, INPUTS, js.mean("precipitation_flux", region="sahel"), (SST,))
    monkeypatch.setattr(
        "jcm_sensitivity.work.shared.default_experiment", lambda smooth=True: known)


@pytest.mark.parametrize(("option", "words"), [
    (("--targets", "rain"), ("unknown target 'rain'", "did you mean", "tropical_pacific_rain")),
    (("--horizons", "1week"), ("such as 1step, 6h, 1d or 5d", "got '1week'")),
    (("--dtype", "float16"), ("float64 or float32", "got 'float16'")),
    (("--parameters", "parameters.convectio"), ("parameters.convectio", "did you mean")),
    (("--parameters", "forcing.start_day"), ("forcing.start_day", "no derivative")),
    (("--json", "nowhere/out.json"), ("no folder", "nowhere", "--json")),
    (("--html", "nowhere/out.html"), ("no folder", "nowhere", "--html")),
    (("--store", "taken"), ("taken",)),
])  # fmt: skip
def test_certificate_is_refused_before_it_takes_an_hour(
        option, words, known_setup, tmp_path, monkeypatch):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("a file, no folder")
    monkeypatch.setattr(
        sys.modules["jcm_sensitivity.certify"], "prepare",
        lambda *_: pytest.fail("the computation has begun"))
    short = ("--parameters", SST, "--targets", "itcz_latitude", "--horizons", "1step")
    assert_refused(invoke("check", *short, *option), *words)


@pytest.mark.parametrize(("option", "words"), [
    (("--members", "0"), ("--members is a positive number", "got 0")),
    (("--members", "2", "--check"), ("go without --by-day, --memory and --check",)),
    (("--by-day",), ("need a run of the model",)),
    (("none.toml",), ("none.toml",)),
])  # fmt: skip
def test_option_of_map_without_meaning_is_one_line(option, words, known_setup, tmp_path):
    assert_refused(invoke("map", *option, "--output", tmp_path), *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["map", "horizon"])
def test_file_in_place_of_the_output_folder_is_named(command, known_setup, tmp_path):
    (tmp_path / "taken").write_text("a file, no folder")
    assert_refused(invoke(command, "--output", tmp_path / "taken"), "taken")
    assert (tmp_path / "taken").read_text() == "a file, no folder"


@pytest.mark.parametrize(("option", "words"), [
    (("--leads", "1,two"), ("--leads is a list of positive numbers", "'1,two'")),
    (("--amplitudes", "-1"), ("--amplitudes is a list of positive numbers", "'-1'")),
    (("--states", "0"), ("--states is a positive number of initial states", "got 0")),
    (("--tolerance", "0"), ("--tolerance is positive", "got 0")),
])  # fmt: skip
def test_option_without_meaning_is_one_line(option, words, known_setup, tmp_path):
    assert_refused(invoke("horizon", *option, "--output", tmp_path), *words)
