"""Indices: values from integrals worked out apart, units, and gradients."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from synthetic import SST, cheap_inputs, mirror

import jcm
from jcm.variables import VARIABLES
from jcm_sensitivity import INDICES, box, index, last, sensitivity

MODEL = jcm.build_model("T21L8")
GRID = MODEL.grid
INPUTS = cheap_inputs(MODEL)
RAIN, WIND = "precipitation_flux", "eastward_wind"
UNITS = {
    "itcz_latitude": "degrees_north", "jet_latitude": "degrees_north", "jet_speed": "m s-1",
    "global_mean_precipitation": "kg m-2 s-1", "toa_net_flux": "W m-2", "nino34_index": "K",
    "global_mean_temperature": "K", "land_sea_contrast": "K",
    "meridional_temperature_gradient": "K",
}  # fmt: skip


def rain(profile):
    """Precipitation of one day that depends on latitude only."""
    return {RAIN: np.broadcast_to(profile, (1, *GRID.shape))}


def wind(profile):
    """Wind of one day that is the same in all layers, and the pressure of the ground."""
    return {WIND: np.broadcast_to(profile, (1, 8, *GRID.shape)),
            "surface_air_pressure": np.full((1, *GRID.shape), 1e5)}  # fmt: skip


def bound(name, **arguments):
    return index(name, **arguments).bind(MODEL, inputs=INPUTS)


def some_fields(target, seed=0):
    """Fields that are positive and vary from cell to cell."""
    random = np.random.default_rng(seed)
    size = {"K": (280, 10), "Pa": (9.5e4, 3e3), "kg m-2 s-1": (3e-5, 1e-5)}
    fields = {}
    for name in target.variables:
        mean, spread = size.get(VARIABLES[name].units, (10, 3))
        shape = (1, 8, *GRID.shape) if VARIABLES[name].dims == "3d" else (1, *GRID.shape)
        fields[name] = jnp.asarray(mean + spread * random.uniform(-1, 1, shape))
    return fields


@pytest.mark.parametrize("power", [1, 2, 10])
def test_itcz_latitude_is_the_centroid_of_adam_and_others(power):
    # Linear in latitude, so that interpolation between the rows of the grid is exact.
    precipitation = lambda degrees: 3e-5 * (1 + degrees / 40)  # noqa: E731
    weight = lambda x: (np.cos(np.deg2rad(x)) * precipitation(x) * 1e5) ** power  # noqa: E731
    expected = quad(lambda x: x * weight(x), -20, 20)[0] / quad(weight, -20, 20)[0]
    value = bound("itcz_latitude", power=power)(rain(precipitation(GRID.latitude)))
    np.testing.assert_allclose(value, expected, rtol=1e-4)


def test_itcz_of_rain_symmetric_about_the_equator_is_on_the_equator():
    value = bound("itcz_latitude")(rain(np.exp(-((GRID.latitude / 10) ** 2))))
    np.testing.assert_allclose(value, 0, atol=1e-12)


@pytest.mark.parametrize("grid", ["T21L8", "T63L8"])
def test_itcz_of_a_band_of_rain_is_near_its_middle_on_every_grid(grid):
    model = jcm.build_model(grid)
    band = np.exp(-(((model.grid.latitude - 6) / 8) ** 2))
    field = {RAIN: np.broadcast_to(band, (1, *model.grid.shape))}
    # The rows of T21 are 5.5 degrees apart, and the cosine draws the centroid to the equator.
    np.testing.assert_allclose(index("itcz_latitude").bind(model)(field), 6, atol=0.5)


def test_itcz_does_not_depend_on_the_amount_of_rain():
    profile = np.exp(-(((GRID.latitude - 6) / 8) ** 2))
    values = [bound("itcz_latitude")(rain(size * profile)) for size in (1e-5, 1.0)]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-12)


def test_itcz_of_a_sector_sees_no_other_longitudes():
    east = (GRID.longitude < 180)[:, None]
    north, south = (np.exp(-(((GRID.latitude - x) / 8) ** 2)) for x in (8, -8))
    field = {RAIN: np.where(east, north, south)[None]}
    sector = bound("itcz_latitude", region=box(-20, 20, 20, 160))(field)
    np.testing.assert_allclose(sector, bound("itcz_latitude")(rain(north)), rtol=1e-12)
    np.testing.assert_allclose(bound("itcz_latitude")(field), 0, atol=0.2)


@pytest.mark.parametrize("hemisphere", ["north", "south"])
@pytest.mark.parametrize("power", [2, 10])
def test_jet_latitude_and_speed_are_the_integrals_of_their_definition(hemisphere, power):
    speed = lambda degrees: 20 - np.abs(degrees) / 4  # noqa: E731
    sign = 1 if hemisphere == "north" else -1
    norm = quad(lambda x: speed(x) ** power, 30, 60)[0]
    latitude = sign * quad(lambda x: x * speed(x) ** power, 30, 60)[0] / norm
    strength = quad(lambda x: speed(x) ** (power + 1), 30, 60)[0] / norm
    fields = wind(speed(GRID.latitude))
    arguments = {"hemisphere": hemisphere, "power": power}
    np.testing.assert_allclose(bound("jet_latitude", **arguments)(fields), latitude, rtol=1e-5)
    np.testing.assert_allclose(bound("jet_speed", **arguments)(fields), strength, rtol=1e-5)


def test_easterlies_do_not_count_as_a_jet():
    profile = np.where(GRID.latitude > 45, 10.0, -50.0)
    assert bound("jet_latitude")(wind(profile)) > 45


def test_jet_takes_the_level_that_is_asked_for():
    fields = wind(np.zeros(GRID.nlat))
    fields[WIND] = fields[WIND] + np.arange(8.0)[None, :, None, None]
    np.testing.assert_allclose(bound("jet_speed", level=3)(fields), 3.0)
    assert index("jet_speed", level=3).variables == (WIND,)
    # 850 hPa lies between the centres of layers 6 (sigma 0.835) and 7 (0.95).
    part = np.log(0.85 / 0.835) / np.log(0.95 / 0.835)
    np.testing.assert_allclose(bound("jet_speed")(fields), 6 + part)


def test_means_of_uniform_fields_are_their_values():
    for name in ("global_mean_precipitation", "toa_net_flux", "nino34_index",
                 "global_mean_temperature"):  # fmt: skip
        fields = {index(name).variables[0]: np.full((1, *GRID.shape), 2.5)}
        np.testing.assert_allclose(bound(name)(fields), 2.5)


def test_nino_index_is_the_temperature_of_its_box():
    inside = (np.abs(GRID.latitude) < 8)[None, :] & (
        (GRID.longitude > 185) & (GRID.longitude < 245))[:, None]
    fields = {"sea_surface_temperature": np.where(inside, 301.0, 250.0)[None]}
    np.testing.assert_allclose(bound("nino34_index")(fields), 301.0)


def test_land_sea_contrast_separates_land_from_sea():
    land = np.asarray(INPUTS.forcing.land_fraction)
    fields = {"near_surface_air_temperature": (280 + 10 * land)[None]}
    area = np.broadcast_to(GRID.cell_area, land.shape)
    expected = 10 * (np.average(land, weights=area * land)
                     - np.average(land, weights=area * (1 - land)))  # fmt: skip
    np.testing.assert_allclose(bound("land_sea_contrast")(fields), expected, rtol=1e-10)


def test_meridional_gradient_of_the_squared_sine_of_latitude():
    # The mean of s^2 over s = 0 to 1/2 is 1/12, over 1/2 to 1 it is 7/12.
    field = np.broadcast_to(300 - GRID.sin_latitude**2, (1, *GRID.shape))
    for hemisphere in ("north", "south"):
        value = bound("meridional_temperature_gradient", hemisphere=hemisphere)(
            {"near_surface_air_temperature": field})
        # The edge at 30 degrees cuts a row, within which the field counts as uniform.
        np.testing.assert_allclose(value, 0.5, rtol=0.02)


def test_every_index_has_its_units_and_says_so():
    assert set(UNITS) == set(INDICES)
    for name, units in UNITS.items():
        assert index(name).units == units
        assert str(index(name)).endswith(f", the whole run [{units}]")


def test_every_index_is_documented_and_takes_a_period():
    for name, function in INDICES.items():
        assert UNITS[name] in inspect.getdoc(function)
        assert "the last 2 days" in index(name, days=last(2)).description


@pytest.mark.parametrize("name", INDICES)
def test_gradient_of_every_index_is_that_of_finite_differences(name):
    target = bound(name)
    fields = some_fields(target)
    random = np.random.default_rng(1)
    direction = {key: value * random.uniform(-1, 1, value.shape) for key, value in fields.items()}
    moved = lambda step: target({  # noqa: E731
        key: value + step * direction[key] for key, value in fields.items()})
    _, slope = jax.jvp(target, (fields,), (direction,))
    gradient = jax.grad(target)(fields)
    product = sum(float(jnp.sum(gradient[key] * direction[key])) for key in fields)
    step = 1e-5
    np.testing.assert_allclose(product, (moved(step) - moved(-step)) / (2 * step), rtol=1e-6)
    np.testing.assert_allclose(product, slope, rtol=1e-10)


@pytest.mark.parametrize("name", INDICES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_is_nan_where_fields_vanish_everywhere(name, dtype):
    target = bound(name)
    fields = {key: jnp.zeros_like(value, dtype) for key, value in some_fields(target).items()}
    if "surface_air_pressure" in fields:
        fields["surface_air_pressure"] += 1e5
    value, gradient = jax.value_and_grad(target)(fields)
    assert np.isfinite(value) and value.dtype == dtype
    assert all(np.isfinite(part).all() for part in gradient.values())


def test_itcz_without_rain_is_in_the_middle_of_the_band():
    np.testing.assert_allclose(bound("itcz_latitude")(rain(np.zeros(GRID.nlat))), 0, atol=1e-12)
    np.testing.assert_allclose(bound("jet_latitude")(wind(-np.ones(GRID.nlat))), 45)


@pytest.mark.parametrize("name", ["itcz_latitude", "jet_latitude", "jet_speed"])
def test_single_precision_is_as_good_as_its_rounding(name):
    target = bound(name)
    fields = some_fields(target)
    single = {key: value.astype(np.float32) for key, value in fields.items()}
    np.testing.assert_allclose(target(single), target(fields), rtol=1e-4, atol=1e-4)
    first, second = (jax.grad(target)(x) for x in (single, fields))
    for key in fields:
        size = np.abs(second[key]).max()
        np.testing.assert_allclose(first[key], second[key], rtol=0, atol=1e-4 * size)


def test_sensitivity_of_an_index_has_its_units():
    # Precipitation is proportional to temperature here, so both have the same centroid.
    run = lambda inputs: mirror(MODEL)(inputs)  # noqa: E731
    result = sensitivity(run, bound("itcz_latitude"), INPUTS, wrt=[SST])
    january = INPUTS.forcing.sea_surface_temperature[0]
    np.testing.assert_allclose(result.value, bound("itcz_latitude")({RAIN: january[None]}))
    assert result.units[SST] == "degrees_north K-1"
    # A centroid does not change if all that it weights grows by the same factor.
    total = float(jnp.sum(result.gradient[SST][0] * january))
    np.testing.assert_allclose(total, 0, atol=1e-10)


def test_every_index_is_made_of_variables_of_the_model(small_model, small_inputs):
    names = sorted({name for index_ in INDICES for name in index(index_).variables})
    _, fields = jcm.simulate(
        small_model, small_inputs, days=1 / small_model.steps_per_day, observe=names)
    step = 1 / small_model.steps_per_day
    values = {name: float(index(name).bind(small_model, every=step, inputs=small_inputs)(fields))
              for name in INDICES}  # fmt: skip
    assert 270 < values["global_mean_temperature"] < 300
    assert -20 < values["itcz_latitude"] < 20 and 30 < values["jet_latitude"] < 60
    assert 3 < values["jet_speed"] < 40 and 295 < values["nino34_index"] < 305
    assert values["meridional_temperature_gradient"] > 10
    assert values["land_sea_contrast"] < 0  # January


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("itcz", {}, "did you mean itcz_latitude"),
        ("jet_latitude", {"hemispher": "north"}, "did you mean hemisphere"),
        ("jet_latitude", {"hemisphere": "east"}, "'north' or 'south'"),
        ("meridional_temperature_gradient", {"hemisphere": "east"}, "'north' or 'south'"),
        ("jet_latitude", {"level": 3, "pressure": 850}, "give one of"),
        ("itcz_latitude", {"power": 0.5}, "at least 1"),
        ("itcz_latitude", {"power": float("nan")}, "at least 1"),
        ("itcz_latitude", {"region": "nowhere"}, "unknown region"),
        ("nino34_index", {"variable": "sst"}, "unknown variable"),
    ],
)
def test_indices_without_meaning_are_refused(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        index(name, **arguments)


def test_contrast_of_land_and_sea_needs_inputs():
    with pytest.raises(ValueError, match="inputs=inputs"):
        index("land_sea_contrast").bind(MODEL)


def test_contrast_without_land_is_refused():
    with pytest.raises(ValueError, match="region is empty"):
        index("land_sea_contrast", region=box(-50, -40, -130, -110)).bind(MODEL, inputs=INPUTS)
