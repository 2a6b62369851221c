"""Consistency of responses on fields whose balance is known."""

import jax.numpy as jnp
import numpy as np
import pytest

import jcm
from jcm_sensitivity.consistency import NEEDED, WATER, consistency
from jcm_sensitivity.tangent import Response

MODEL = jcm.build_model("T21L8")
GRID, C = MODEL.grid, MODEL.constants
SHAPE = (8, *GRID.shape)
LONGITUDE, SINE = np.deg2rad(GRID.longitude)[:, None], GRID.sin_latitude


@pytest.fixture(scope="module")
def inputs():
    return jcm.default_inputs(MODEL)


@pytest.fixture(scope="module")
def base():
    """An atmosphere with a slope of surface pressure, so that all terms of the force count."""
    pressure = 1e5 * np.exp(-0.1 * SINE**2 * (1 + 0.3 * np.cos(LONGITUDE)))
    sigma = MODEL.levels.centre[:, None, None]
    temperature = np.broadcast_to(288 * np.maximum(sigma, 0.2) ** 0.19, SHAPE)
    zero = np.zeros(SHAPE)
    return {
        "eastward_wind": zero, "northward_wind": zero, "air_temperature": temperature,
        "geopotential_height": zero, "surface_air_pressure": pressure,
        "specific_humidity": np.full(SHAPE, 2e-3),
        "precipitation_flux": zero[0], "water_evapotranspiration_flux": zero[0]}  # fmt: skip


def made(base, change, outputs=1, average=False, input_change=None):
    """A response of fields that do not change between outputs, unless they are given so."""
    whole = {name: np.zeros((outputs, *np.shape(x))) for name, x in base.items()}
    for name, x in change.items():
        whole[name] = np.broadcast_to(x, whole[name].shape)
    fields = {name: jnp.asarray(np.broadcast_to(x, whole[name].shape)) for name, x in base.items()}
    return Response(
        fields, {name: jnp.asarray(x) for name, x in whole.items()}, input_change or {}, {}, {},
        0.5, average)  # fmt: skip


def balanced_height():
    """Height [m], and the wind whose Coriolis force holds its slope, by hand [m s-1]."""
    a, f0, cosine = C.radius, 2 * C.rotation_rate, np.sqrt(1 - SINE**2)
    height = 20.0 * SINE**3 * cosine * np.cos(LONGITUDE)
    slope_y = 20.0 / a * (3 * SINE**2 * cosine**2 - SINE**4) * np.cos(LONGITUDE)
    slope_x = -20.0 / a * SINE**3 * np.sin(LONGITUDE)
    u = -C.gravity * slope_y / (f0 * SINE)
    v = C.gravity * slope_x / (f0 * SINE)
    return height, u, v


def test_wind_in_balance_with_the_height_is_all_geostrophic(inputs, base):
    height, u, v = balanced_height()
    layers = np.linspace(1, 2, 8)[:, None, None]
    found = consistency(MODEL, inputs, made(base, {
        "geopotential_height": layers * height, "eastward_wind": layers * u,
        "northward_wind": layers * v}))  # fmt: skip
    outside = np.abs(GRID.latitude) >= 15
    for name in ("adjustment", "fraction", "correlation"):
        values = found[f"geostrophic_{name}"].values[0]
        np.testing.assert_allclose(values[:, outside], 1, rtol=1e-9)
        assert np.isnan(values[:, ~outside]).all()
        np.testing.assert_allclose(found[f"extratropical_geostrophic_{name}"], 1, rtol=1e-9)


def test_half_the_geostrophic_wind_is_half_adjusted_and_wholly_balanced(inputs, base):
    height, u, v = balanced_height()
    found = consistency(MODEL, inputs, made(base, {
        "geopotential_height": height, "eastward_wind": 0.5 * u, "northward_wind": 0.5 * v}))
    np.testing.assert_allclose(found["extratropical_geostrophic_adjustment"], 0.5, rtol=1e-9)
    np.testing.assert_allclose(found["extratropical_geostrophic_fraction"], 2.0, rtol=1e-9)
    np.testing.assert_allclose(found["extratropical_geostrophic_correlation"], 1.0, rtol=1e-9)


def test_random_wind_is_not_geostrophic(inputs, base):
    rng = np.random.default_rng(0)
    height = balanced_height()[0]
    found = consistency(MODEL, inputs, made(base, {
        "geopotential_height": height, "eastward_wind": rng.normal(size=SHAPE),
        "northward_wind": rng.normal(size=SHAPE)}))  # fmt: skip
    # 8 x 26 x 64 x 2 numbers without correlation.
    assert abs(float(found["extratropical_geostrophic_correlation"][0])) < 4 / np.sqrt(26624)


def test_both_terms_of_the_pressure_force_on_sigma_surfaces_count(inputs, base):
    # A change of height of surfaces of pressure alone: on surfaces of sigma the change of height
    # is that less R T / g d(ln p_s); where T and p_s have no slope the wind is the same.
    flat = base | {"air_temperature": np.full(SHAPE, 260.0),
                   "surface_air_pressure": np.full(SHAPE[1:], 1e5)}  # fmt: skip
    height, u, v = balanced_height()
    log_change = C.gravity / (C.gas_constant * 260.0) * 0.7 * height
    found = consistency(MODEL, inputs, made(flat, {
        "geopotential_height": 0.3 * height, "surface_air_pressure": 1e5 * log_change,
        "eastward_wind": u, "northward_wind": v}))  # fmt: skip
    np.testing.assert_allclose(found["extratropical_geostrophic_adjustment"], 1, rtol=1e-9)
    at_pressure = found["height_change_at_pressure"].values[0, 0]
    np.testing.assert_allclose(at_pressure, height.T, rtol=0, atol=1e-9)


def test_geostrophic_wind_is_the_derivative_of_that_of_the_whole_fields(base):
    from jcm_sensitivity.consistency import geostrophic_wind

    sigma = MODEL.levels.centre[:, None, None]
    warm = sigma * (SINE**2 + SINE * np.cos(2 * LONGITUDE) * (1 - SINE**2))
    moved = 100 * SINE**2 * (1 + np.sin(LONGITUDE) * np.sqrt(1 - SINE**2))
    rise = 5 * SINE**3 * sigma * np.ones(SHAPE)
    names = ("air_temperature", "surface_air_pressure", "geopotential_height")
    change = dict(zip(names, (warm, moved, rise), strict=True))
    change = {name: x[None] for name, x in change.items()}

    def pressure_force(size):
        fields = {name: base[name][None] + size * change[name] for name in names}
        log = np.log(fields["surface_air_pressure"])
        transform, whole = MODEL.transform, fields["geopotential_height"][0] * C.gravity
        gradients = []
        for field in (log, whole):
            spectrum = transform.analysis(jnp.moveaxis(jnp.asarray(field), 0, 1))
            gradients.append([np.moveaxis(np.asarray(transform.synthesis(x)), 1, 0)
                              / GRID.cos_latitude for x in transform.scaled_gradient(spectrum)])
        return [phi + C.gas_constant * fields["air_temperature"][0] * slope
                for phi, slope in zip(gradients[1], gradients[0], strict=True)]  # fmt: skip

    high, low = pressure_force(1e-3), pressure_force(-1e-3)
    x, y = ((a - b) / 2e-3 / (2 * C.rotation_rate * SINE) for a, b in zip(high, low, strict=True))
    u, v = geostrophic_wind(MODEL, {k: base[k][None] for k in names}, change)
    np.testing.assert_allclose(u[0], -y, rtol=0, atol=1e-5 * np.abs(y).max())
    np.testing.assert_allclose(v[0], x, rtol=0, atol=1e-5 * np.abs(x).max())


def test_height_of_the_model_has_no_hypsometric_residual(inputs, base):
    warm = np.linspace(1, 2, 8)[:, None, None] * (1 + SINE * np.cos(LONGITUDE))
    zero = jnp.zeros(GRID.shape)
    height = np.asarray(MODEL.geopotential(jnp.asarray(warm), zero)) / C.gravity
    right = made(base, {"air_temperature": warm, "geopotential_height": height})
    found = consistency(MODEL, inputs, right)
    np.testing.assert_allclose(found["hypsometric_residual"], 0, atol=1e-9)
    wrong = made(base, {"air_temperature": warm, "geopotential_height": 1.1 * height})
    found = consistency(MODEL, inputs, wrong)["hypsometric_residual"].values[0]
    np.testing.assert_allclose(found, 0.1 * np.swapaxes(height, -1, -2), rtol=1e-6)


def test_warming_by_one_kelvin_lifts_by_the_thickness_of_the_column(inputs, base):
    ones = np.ones(SHAPE)
    height = np.asarray(MODEL.geopotential(jnp.asarray(ones), jnp.zeros(GRID.shape))) / C.gravity
    found = consistency(
        MODEL, inputs, made(base, {"air_temperature": ones, "geopotential_height": height}))
    # R / g ln(1 / sigma) for 1 K, without the correction for lapse rate in an isothermal change.
    expected = C.gas_constant / C.gravity * np.log(1 / MODEL.levels.centre)
    lifted = found["height_change_at_pressure"].values[0].mean(axis=(-2, -1))
    np.testing.assert_allclose(lifted, expected, rtol=1e-9)
    # Vapour of 2 g kg-1 that is warmed with the air.
    added = found["virtual_temperature_effect"].values[0].mean(axis=(-2, -1))
    np.testing.assert_allclose(added, 0.608 * 2e-3 * expected, rtol=1e-9)


def test_raised_ground_lifts_all_heights(inputs, base):
    name = "forcing.surface_geopotential"
    rise = 50 * C.gravity * (1 + SINE * np.sqrt(1 - SINE**2) * np.cos(LONGITUDE))
    lifted = np.broadcast_to(rise / C.gravity, SHAPE)
    found = consistency(MODEL, inputs, made(
        base, {"geopotential_height": lifted}, input_change={name: jnp.asarray(rise)}))
    # Degree 2 passes the truncation of the orography unchanged.
    np.testing.assert_allclose(found["hypsometric_residual"], 0, atol=1e-9)


def test_energies_are_those_worked_out_by_hand(inputs, base):
    found = consistency(MODEL, inputs, made(base, {
        "eastward_wind": 2.0, "air_temperature": 1.0,
        "surface_air_pressure": 1e-3 * base["surface_air_pressure"]}))  # fmt: skip
    np.testing.assert_allclose(found["kinetic_energy"].sum("level"), 2.0)
    np.testing.assert_allclose(found["thermal_energy"].sum("level"), 0.5 * 1004 / 300)
    np.testing.assert_allclose(found["surface_energy"], 0.5 * C.gas_constant * 300 * 1e-6)


def test_water_that_evaporates_and_stays_leaves_no_residual(inputs, base):
    flat = base | {"surface_air_pressure": np.full(SHAPE[1:], 1e5)}
    outputs = np.arange(3.0)[:, None, None, None]
    moist = 1e-4 * outputs * np.ones(SHAPE)
    # 1e-4 kg kg-1 in 1e5 / g kg m-2 every half day.
    flux = 1e-4 * 1e5 / C.gravity / 43200
    change = {"specific_humidity": moist, "water_evapotranspiration_flux": 1.5 * flux,
              "precipitation_flux": 0.5 * flux}  # fmt: skip
    found = consistency(MODEL, inputs, made(flat, change, outputs=3, average=True))
    np.testing.assert_allclose(found["water_gain"], 86400 * flux, rtol=1e-9)
    np.testing.assert_allclose(found["water_residual"], 0, atol=1e-9)
    np.testing.assert_allclose(found["between"], [0.5, 1.0])
    np.testing.assert_allclose(found["day"], [0.25, 0.75, 1.25])
    leak = made(flat, change | {"precipitation_flux": 0.0}, outputs=3, average=True)
    np.testing.assert_allclose(
        consistency(MODEL, inputs, leak)["water_residual"], -0.5 * 86400 * flux, rtol=1e-9)


def test_one_output_has_no_budget_of_water(inputs, base):
    assert "water_gain" not in consistency(MODEL, inputs, made(base, {}))


def test_what_is_missing_is_named(inputs, base):
    lacking = {name: x for name, x in base.items() if name != "geopotential_height"}
    with pytest.raises(ValueError, match="the response has no geopotential_height"):
        consistency(MODEL, inputs, made(lacking, {}))
    with pytest.raises(ValueError, match="from 0 to below 90"):
        consistency(MODEL, inputs, made(base, {}), tropics=95)
    assert set(NEEDED) | set(WATER) == set(base)
