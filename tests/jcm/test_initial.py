"""Initial states: packaged ones, files, and the atmosphere at rest."""

import dataclasses
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import jcm
from jcm import states
from jcm.constants import EARTH
from jcm.data import data_names, data_path
from jcm.initial import rest_prognostics
from jcm.state import Prognostics

PACKAGED = [name for name in data_names() if name.startswith("state_")]
GRIDS = sorted({name.split("_")[1] for name in PACKAGED})
BOTH_SEASONS = [g for g in GRIDS if {f"state_{g}_january.nc", f"state_{g}_july.nc"} <= {*PACKAGED}]
FIELDS = tuple(field.name for field in dataclasses.fields(Prognostics))
#: A day of each season.
DAY_OF = {"january": "2000-01-01", "july": "2000-07-01"}
#: Mean temperature of the layers in a climatology of the public code with the same diffusion [K].
CLIMATOLOGY = [209.66, 207.20, 222.88, 242.49, 258.98, 272.11, 280.15, 285.74]
#: Mean temperature at rest over SPEEDY's own orography at T30 [K].
REST = [216.00, 216.00, 216.11, 237.20, 254.69, 268.22, 277.70, 284.06]


def forcing_of(model, start="2000-01-01"):
    return jcm.packaged_forcing(model.grid, start=start, gravity=model.constants.gravity)


def loaded(grid, start="2000-01-01"):
    model = jcm.build_model(grid)
    return model, states.load(model, "spun-up", forcing_of(model, start))


def global_mean(spectrum):
    """The mean of each layer; the first harmonic is 1 / sqrt(2)."""
    return np.asarray(spectrum)[0, 0, :, 0] / np.sqrt(2)


def ground_of(model, forcing):
    parameters = jcm.reference_parameters(model)
    widths = model.physics.widths(parameters)
    return model.coupler.ground(forcing, model.transform, parameters, widths)


def rest_over(grid, forcing=None):
    model = jcm.build_model(grid)
    ground = ground_of(model, forcing_of(model) if forcing is None else forcing(model))
    return model, ground, rest_prognostics(model, ground)


def assert_same(a, b, **tolerance):
    for name in FIELDS:
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), err_msg=name, **tolerance)


# Packaged states.


def test_the_small_and_the_default_grid_have_states_of_both_seasons():
    assert {"T21L8", "T31L8"} <= {*BOTH_SEASONS}


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_state_loads_with_the_shape_of_its_grid(name):
    grid, season = name.removeprefix("state_").removesuffix(".nc").split("_")
    model, levels = loaded(grid, DAY_OF[season])
    t = model.grid.truncation
    for level in levels:
        for field in FIELDS:
            layers = 1 if field == "log_surface_pressure" else model.levels.count
            x = getattr(level, field)
            assert x.shape == (t + 1, 2, layers, t + 2)
            assert np.all(np.isfinite(x))
            beyond = np.broadcast_to(model.transform.degree > t, x.shape)
            assert not np.any(x[beyond])


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_state_is_that_of_an_atmosphere_in_motion(name):
    grid, season = name.removeprefix("state_").removesuffix(".nc").split("_")
    model, (previous, current) = loaded(grid, DAY_OF[season])
    # Days of one season against an annual mean: the seasonal cycle of the mean is about 2 K.
    np.testing.assert_allclose(global_mean(current.temperature), CLIMATOLOGY, atol=4)
    assert 0.97 < np.exp(global_mean(current.log_surface_pressure))[0] < 0.99
    assert global_mean(current.specific_humidity)[-1] == pytest.approx(0.009, rel=0.3)
    columns = model.columns(
        jax.tree.map(jnp.asarray, current), ground_of(model, forcing_of(model)))
    wind = float(jnp.abs(columns.eastward_wind).max())
    assert 40 < wind < 120, f"strongest wind {wind:.0f} m s-1"
    # Two levels one time step apart.
    change = np.abs(current.temperature - previous.temperature).max()
    assert 0 < change < 0.5


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_state_says_what_it_is(name):
    with xr.open_dataset(data_path(name)) as dataset:
        assert int(dataset.attrs["truncation"]) == int(re.search(r"T(\d+)", name)[1])
        assert {v: dataset[v].attrs["units"] for v in dataset.data_vars} == states.UNITS


@pytest.mark.parametrize("grid", BOTH_SEASONS)
def test_the_northern_hemisphere_is_the_colder_one_in_january_and_not_in_july(grid):
    # Harmonic of sin(latitude), lowest layer.
    slope = {season: loaded(grid, day)[1][1].temperature[0, 0, -1, 1]
             for season, day in DAY_OF.items()}  # fmt: skip
    assert slope["january"] < -1
    assert slope["july"] > 1


@pytest.mark.parametrize(("start", "season"), [
    ("1999-12-31", "january"), ("2000-02-29", "january"), ("2000-03-31", "january"),
    ("2000-04-01", "july"), ("2000-09-30", "july"), ("2000-10-01", "january"),
])  # fmt: skip
def test_the_nearer_season_is_taken(start, season):
    assert_same(loaded("T21L8", start)[1][1], loaded("T21L8", DAY_OF[season])[1][1], rtol=0)


@pytest.mark.parametrize("grid", [g for g in GRIDS if g not in BOTH_SEASONS])
def test_a_grid_with_one_season_uses_it_all_year(grid):
    assert_same(loaded(grid, "2000-01-01")[1][1], loaded(grid, "2000-07-01")[1][1], rtol=0)


@pytest.mark.parametrize(("grid", "half_levels"), [
    ("T30L8", None), ("T21L5", None), ("T21L8", tuple(np.linspace(0, 1, 17)))])  # fmt: skip
def test_a_model_without_packaged_state_is_told_to_start_from_rest(grid, half_levels):
    model = jcm.build_model(grid, half_levels=half_levels)
    with pytest.raises(ValueError, match="no spun-up state is packaged for T") as error:
        jcm.default_inputs(model)
    assert model.name in str(error.value)
    assert "T31L8" in str(error.value)
    assert "state='rest'" in str(error.value)


def test_other_layers_of_the_same_number_are_refused():
    half = (0.0, 0.06, 0.14, 0.26, 0.42, 0.60, 0.77, 0.90, 1.0)
    model = jcm.build_model("T21L8", half_levels=half)
    with pytest.raises(ValueError, match="half levels"):
        jcm.default_inputs(model)


# Files.


def test_default_inputs_hold_the_packaged_state(small_model, small_inputs):
    previous, current = states.load(small_model, "spun-up", small_inputs.forcing)
    assert_same(small_inputs.state.previous, previous, rtol=0)
    assert_same(small_inputs.state.current, current, rtol=0)
    assert int(small_inputs.state.step) == 0


def test_a_saved_state_is_loaded_as_it_was(tmp_path, small_model, small_inputs):
    path, state = tmp_path / "state.nc", small_inputs.state
    states.save(path, 21, small_model.levels.half, state.previous, state.current,
                attributes={"title": "a state"})  # fmt: skip
    previous, current = states.load(small_model, path, small_inputs.forcing)
    # The packaged state has single precision, as files have.
    assert_same(previous, state.previous, rtol=0)
    assert_same(current, state.current, rtol=0)
    with xr.open_dataset(path) as dataset:
        assert dataset.attrs["title"] == "a state"


def test_a_file_starts_a_run(tmp_path, small_model, small_inputs):
    path, state = tmp_path / "state.nc", small_inputs.state
    warmer = eqx.tree_at(
        lambda p: p.temperature, state.current, state.current.temperature.at[0, 0, :, 0].add(1.0))
    states.save(path, 21, small_model.levels.half, state.previous, warmer, attributes={})
    inputs = jcm.default_inputs(small_model, state=path)
    # Files have single precision.
    assert_same(inputs.state.current, warmer, rtol=1e-7)


def test_a_coarser_file_is_padded_with_zeros(tmp_path, small_model, small_inputs):
    path, state = tmp_path / "state.nc", small_inputs.state
    states.save(path, 21, small_model.levels.half, state.previous, state.current, attributes={})
    finer = jcm.build_model("T31L8")
    _, current = states.load(finer, path, small_inputs.forcing)
    assert current.temperature.shape == (32, 2, 8, 33)
    np.testing.assert_array_equal(current.temperature[:22, :, :, :22],
                                  state.current.temperature[..., :22])  # fmt: skip
    outside = finer.transform.degree > 21
    assert not np.any(current.temperature[np.broadcast_to(outside, current.temperature.shape)])


def test_a_finer_file_is_refused_with_both_resolutions(small_model):
    both = r"state_T31L8_january\.nc holds T31 .* this model has T21"
    with pytest.raises(ValueError, match=both):
        jcm.default_inputs(small_model, state=data_path("state_T31L8_january.nc"))


def test_a_missing_file_is_named_and_the_way_out_said(small_model):
    with pytest.raises(ValueError, match="there is no initial state 'nowhere") as error:
        jcm.default_inputs(small_model, state="nowhere.nc")
    assert "for T21L8" in str(error.value)
    assert "state='rest'" in str(error.value)


# Rest.


def test_mean_temperatures_at_rest_are_those_of_the_public_code():
    # The orography is another one: 1 % of its mean height of 230 m is 0.015 K.
    _, _, rest = rest_over("T30L8")
    np.testing.assert_allclose(global_mean(rest.temperature), REST, atol=0.05)


def test_the_stratosphere_at_rest_is_isothermal():
    model, ground, rest = rest_over("T21L8")
    columns = model.columns(rest, ground)
    np.testing.assert_allclose(columns.temperature[:2], 216.0, rtol=1e-13)


def test_temperature_at_rest_has_the_reference_lapse_rate():
    model, ground, rest = rest_over("T21L8")
    gamma = 0.006 / EARTH.gravity
    exponent = EARTH.gas_constant * gamma
    at_surface = 288.0 - gamma * ground.surface_geopotential
    temperature = model.columns(rest, ground).temperature
    for k in range(2, 8):
        expected = at_surface * model.levels.centre[k] ** exponent
        np.testing.assert_allclose(temperature[k], expected, rtol=1e-12)


def test_an_atmosphere_at_rest_does_not_move():
    model, ground, rest = rest_over("T21L8")
    columns = model.columns(rest, ground)
    assert not np.any(columns.eastward_wind)
    assert not np.any(columns.northward_wind)


def test_pressure_at_rest_over_flat_water_is_1013_hpa():
    flat = lambda model: jcm.uniform_forcing(model.grid, gravity=EARTH.gravity)  # noqa: E731
    model, ground, rest = rest_over("T21L8", flat)
    columns = model.columns(rest, ground)
    np.testing.assert_allclose(columns.surface_pressure, 1.013, rtol=1e-12)
    saturated_share = 0.7 * 0.622 * 0.017 * 1.013**3
    expected = saturated_share * model.levels.centre**3
    expected[:2] = 0
    np.testing.assert_allclose(columns.specific_humidity[:, 0, 0], expected, atol=1e-16)


def test_pressure_at_rest_is_hydrostatic_over_mountains():
    model, ground, rest = rest_over("T31L8")
    gamma = 0.006 / EARTH.gravity
    height = ground.surface_geopotential / EARTH.gravity
    expected = 1.013 * (1 - 0.006 * height / 288.0) ** (1 / (EARTH.gas_constant * gamma))
    pressure = model.columns(rest, ground).surface_pressure
    # Where orography is high, truncation of the logarithm leaves ripples.
    assert np.abs(pressure - expected).max() < 0.02
    assert np.sqrt(np.mean((pressure - expected) ** 2)) < 0.003
    assert pressure.min() < 0.65


def test_a_run_from_rest_starts_at_step_0_after_two_start_up_steps(small_model):
    inputs = jcm.default_inputs(small_model, state="rest")
    state = inputs.state
    assert int(state.step) == 0
    rest = rest_prognostics(small_model, ground_of(small_model, inputs.forcing))
    # The older level is still at rest, the newer one a time step ahead.
    assert_same(state.previous, rest, rtol=0, atol=1e-15)
    assert np.abs(state.current.temperature - rest.temperature).max() > 1e-3
    for leaf in jax.tree.leaves(state):
        assert np.all(np.isfinite(leaf))


def test_temperature_at_rest_depends_on_orography_as_worked_out(small_model):
    forcing = forcing_of(small_model)

    def mean(factor):
        changed = eqx.tree_at(
            lambda f: f.surface_geopotential, forcing, factor * forcing.surface_geopotential)
        return rest_prognostics(
            small_model, ground_of(small_model, changed)).temperature[0, 0, -1, 0] / jnp.sqrt(2)

    gamma = 0.006 / EARTH.gravity
    spectrum = ground_of(small_model, forcing).geopotential_spectrum
    height_effect = -gamma * global_mean(spectrum)[0]
    sigma = small_model.levels.centre[-1] ** (EARTH.gas_constant * gamma)
    np.testing.assert_allclose(jax.grad(mean)(1.0), height_effect * sigma, rtol=1e-12)
