"""Interpolation to levels of constant pressure, and files on such levels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import jcm
from jcm.output import to_dataset, write_dataset
from jcm.pressure_levels import to_pressure_levels
from jcm.vertical import speedy_levels

LEVELS = speedy_levels(8)
GROUND = np.array([[1.02e5, 9.1e4], [7.0e4, 5.3e4]])


def pressure_of_layers(ground: np.ndarray = GROUND) -> np.ndarray:
    return LEVELS.centre[:, None, None] * ground


@settings(max_examples=30, deadline=None)
@given(st.floats(-50, 50), st.floats(-10, 10), st.floats(6000, 5.0e4))
def test_what_is_linear_in_the_logarithm_of_pressure_is_exact(constant, slope, pressure):
    field = constant + slope * np.log(pressure_of_layers())
    wanted = np.array([pressure])
    found = to_pressure_levels(jnp.asarray(field), jnp.asarray(GROUND), LEVELS, wanted)
    np.testing.assert_allclose(found[0], constant + slope * np.log(pressure), rtol=1e-10, atol=1e-9)


def test_the_line_goes_on_from_the_lowest_layer_to_the_ground():
    field = np.log(pressure_of_layers())
    just_above = np.array([0.999 * GROUND[0, 0]])
    found = to_pressure_levels(jnp.asarray(field), jnp.asarray(GROUND), LEVELS, just_above)
    np.testing.assert_allclose(found[0, 0, 0], np.log(just_above[0]), rtol=1e-12)


def test_there_is_nothing_below_the_ground_and_above_the_top_layer():
    field = jnp.ones((8, 2, 2))
    top = LEVELS.centre[0] * GROUND[0, 0]
    wanted = np.array([0.99 * top, 1.01 * top, 0.999e5, 6.0e4])
    found = np.asarray(to_pressure_levels(field, jnp.asarray(GROUND), LEVELS, wanted))
    # The column at index (0, 0) has its ground at 1020 hPa, the one at (1, 1) at 530 hPa.
    assert np.isnan(found[:, 0, 0]).tolist() == [True, False, False, False]
    assert np.isnan(found[:, 1, 1]).tolist() == [False, False, True, True]


def test_values_at_the_centres_of_layers_are_those_of_the_layers():
    field = jnp.asarray(np.random.default_rng(0).normal(size=(8, 2, 2)))
    wanted = LEVELS.centre * GROUND[0, 0]
    found = to_pressure_levels(field, jnp.asarray(GROUND), LEVELS, wanted)
    np.testing.assert_allclose(found[1:, 0, 0], field[1:, 0, 0], rtol=1e-12)


def test_leading_axes_are_outputs():
    draw = np.random.default_rng(1)
    fields, ground = draw.normal(size=(3, 8, 2, 2)), draw.uniform(8e4, 1e5, (3, 2, 2))
    wanted = np.array([5e4, 2e4])
    found = to_pressure_levels(jnp.asarray(fields), jnp.asarray(ground), LEVELS, wanted)
    for index in range(3):
        alone = to_pressure_levels(
            jnp.asarray(fields[index]), jnp.asarray(ground[index]), LEVELS, wanted)
        np.testing.assert_array_equal(found[index], alone)


def test_derivatives_with_respect_to_field_and_surface_pressure_are_those_of_differences():
    draw = np.random.default_rng(2)
    point = (jnp.asarray(draw.normal(size=(8, 2, 2))), jnp.asarray(GROUND))
    change = (jnp.asarray(draw.normal(size=(8, 2, 2))), jnp.asarray(draw.normal(size=(2, 2))))
    f = lambda field, ground: to_pressure_levels(field, ground, LEVELS, np.array([5.2e4]))  # noqa: E731
    _, derivative = jax.jvp(f, point, change)
    step = 1e-4
    ahead, behind = (
        f(*(x + sign * step * dx for x, dx in zip(point, change, strict=True)))
        for sign in (1, -1))  # fmt: skip
    np.testing.assert_allclose(derivative, (ahead - behind) / (2 * step), rtol=1e-6)


def test_levels_below_the_ground_send_no_undefined_number_back():
    total = lambda field, ground: jnp.nansum(  # noqa: E731
        to_pressure_levels(field, ground, LEVELS, np.array([1.0e5, 5e4])))
    gradients = jax.grad(total, argnums=(0, 1))(jnp.ones((8, 2, 2)), jnp.asarray(GROUND))
    assert all(np.isfinite(x).all() for x in gradients)


MODEL = jcm.build_model("T21L5", physics="held_suarez")


def fields() -> dict[str, np.ndarray]:
    shape = MODEL.grid.shape
    ground = np.full((2, *shape), 9e4, np.float32)
    layers = np.log(MODEL.levels.centre)[None, :, None, None] + np.log(ground)[:, None]
    return {"air_temperature": layers.astype(np.float32), "surface_air_pressure": ground}


def test_a_dataset_has_a_pressure_axis_in_place_of_layers():
    dataset = to_dataset(
        MODEL, fields(), start="2000-01-01", every=1, pressure_levels=[1000, 500, 250])
    assert dataset["air_temperature"].dims == ("time", "plev", "lat", "lon")
    assert dataset["plev"].values.tolist() == [25000.0, 50000.0, 100000.0]
    assert dataset["plev"].attrs["standard_name"] == "air_pressure"
    assert (dataset["plev"].attrs["units"], dataset["plev"].attrs["positive"]) == ("Pa", "down")
    assert not {"level", "level_bnds", "ptop"} & set(dataset.variables)
    np.testing.assert_allclose(dataset["air_temperature"][:, 1], np.log(5e4), rtol=1e-6)
    assert np.isnan(dataset["air_temperature"][:, 2]).all()


@pytest.mark.parametrize(
    ("average", "words"), [(True, "means over time with the mean"), (False, "at that time")])
def test_files_say_what_was_interpolated(average, words):
    dataset = to_dataset(
        MODEL, fields(), start="2000-01-01", every=1, average=average, pressure_levels=[500])
    assert words in dataset["air_temperature"].attrs["comment"]
    assert "comment" not in dataset["surface_air_pressure"].attrs


def test_missing_values_are_declared_in_the_file(tmp_path):
    dataset = to_dataset(MODEL, fields(), start="2000-01-01", every=1, pressure_levels=[1000])
    path = write_dataset(dataset, tmp_path / "fields.nc")
    with xr.open_dataset(path, mask_and_scale=False) as read:
        assert np.isnan(read["air_temperature"].attrs["_FillValue"])
        assert "_FillValue" not in read["surface_air_pressure"].attrs


def test_without_surface_pressure_there_are_no_pressure_levels():
    alone = {"air_temperature": fields()["air_temperature"]}
    with pytest.raises(ValueError, match="pressure levels need 'surface_air_pressure'"):
        to_dataset(MODEL, alone, start="2000-01-01", every=1, pressure_levels=[500])


@pytest.mark.parametrize("levels", [[], [85000.0], [500.0, 500.0], [-1.0], [float("nan")]])
def test_pressures_that_are_none_are_refused(levels):
    with pytest.raises(ValueError, match=r"different pressures in hPa between 0.1 and 1100"):
        to_dataset(MODEL, fields(), start="2000-01-01", every=1, pressure_levels=levels)
