"""Tests of the soil slab."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcm.constants import DAY
from jcm.physics.smooth import SurfaceWidths, exact_widths
from jcm.surface.land import LandParameters, land_heat_capacity, land_surface_temperature
from jcm.surface.slab import damping_factor

EXACT = exact_widths().surface

#: Soil; ice sheet; less than a third of land.
PREVIOUS = jnp.array([290.0, 250.0, 281.0])
CLIMATOLOGY = jnp.array([288.0, 252.0, 280.0])
FLUX = jnp.array([100.0, -50.0, 300.0])
LAND = jnp.array([1.0, 0.8, 0.3])
BARE = jnp.array([0.2, 0.4, 0.2])


def step(previous=PREVIOUS, parameters=None, widths=EXACT, coupling="slab", damping="per_step",
         time_step=2400.0, flux=FLUX, bare=BARE):  # fmt: skip
    return land_surface_temperature(
        previous, CLIMATOLOGY, flux, LAND, bare, time_step,
        parameters=parameters or LandParameters(), widths=widths, coupling=coupling,
        damping=damping,
    )  # fmt: skip


def test_original_damping_leaves_40_parts_of_41_at_every_call():
    expected = [
        288 + 40 / 41 * (2 + 9.6e-4 * 100),
        252 + 40 / 41 * (-2 - 2400 / 9.65e6 * 50),
        280,
    ]
    np.testing.assert_allclose(step(), expected, rtol=1e-15)


def test_daily_damping_follows_the_clock():
    factor = 40 * DAY / (40 * DAY + 2400)
    np.testing.assert_allclose(
        step(damping="per_day")[0], 288 + factor * (2 + 9.6e-4 * 100), rtol=1e-15
    )


def test_both_kinds_of_damping_agree_for_a_step_of_a_day():
    both = [step(damping=damping, time_step=DAY) for damping in ("per_step", "per_day")]
    np.testing.assert_allclose(*both, rtol=1e-15)


def test_unforced_anomalies_decay_with_the_dissipation_time():
    factor = damping_factor(jnp.ones(1), jnp.asarray(40 * DAY), 2400.0, damping="per_day")
    np.testing.assert_allclose(factor ** (40 * DAY / 2400), np.exp(-1), rtol=1e-3)


def test_bright_land_is_an_ice_sheet():
    capacity = land_heat_capacity(
        jnp.array([0.3999, 0.4, 0.5]), parameters=LandParameters(), widths=EXACT
    )
    np.testing.assert_allclose(capacity, [2.5e6, 9.65e6, 9.65e6], rtol=1e-15)


def test_climatology_ignores_the_fluxes():
    np.testing.assert_array_equal(step(coupling="climatology"), CLIMATOLOGY)


@pytest.mark.parametrize("option", [{"coupling": "ocean"}, {"damping": "hourly"}])
def test_unknown_options_are_refused(option):
    # A TypeError of the run-time type checker, a ValueError without it.
    with pytest.raises((ValueError, TypeError), match=next(iter(option))):
        step(**option)


def test_zero_widths_change_no_bit():
    np.testing.assert_array_equal(step(), step(widths=SurfaceWidths()))


def test_single_precision_stays_single():
    single = [jnp.asarray(x, jnp.float32) for x in (PREVIOUS, CLIMATOLOGY, FLUX, LAND, BARE)]
    parameters = jax.tree.map(lambda x: x.astype(jnp.float32), LandParameters())
    result = land_surface_temperature(
        *single, 2400.0, parameters=parameters, widths=EXACT, coupling="slab", damping="per_step"
    )
    assert result.dtype == jnp.float32


def test_smooth_slab_has_the_derivatives_of_central_differences():
    def total(x):
        parameters = LandParameters(
            soil_depth=x[0], ice_sheet_albedo=x[1], dissipation_time=x[2] * DAY
        )
        widths = SurfaceWidths(ice_sheet=0.02)
        return jnp.sum(step(x[3:6], parameters, widths, flux=x[6:9], bare=x[9:12]))

    point = jnp.concatenate([jnp.array([1.0, 0.39, 40.0]), PREVIOUS, FLUX, BARE])
    slope, size = jax.grad(total)(point), 1e-5
    for k, unit in enumerate(jnp.eye(len(point))):
        h = size * point[k] * unit
        difference = (total(point + h) - total(point - h)) / (2 * size * point[k])
        np.testing.assert_allclose(slope[k], difference, rtol=1e-6, atol=1e-8)
