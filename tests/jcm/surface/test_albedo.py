"""Tests of surface albedo."""

import jax
import jax.numpy as jnp
import numpy as np

from jcm.physics.smooth import SurfaceWidths, exact_widths
from jcm.surface.albedo import AlbedoParameters, surface_albedo

#: No snow, half covered, covered; no ice, half ice, full ice.
BARE, SNOW = jnp.array([0.2, 0.3, 0.4]), jnp.array([0.0, 30.0, 500.0])
ICE, LAND = jnp.array([0.0, 0.5, 1.0]), jnp.array([0.0, 0.5, 1.0])


EXACT = exact_widths().surface


def albedo(*fields, widths=EXACT):
    return surface_albedo(*fields, parameters=AlbedoParameters(), widths=widths)


def test_snow_covers_the_ground_fully_from_60_mm():
    np.testing.assert_array_equal(albedo(BARE, SNOW, ICE, LAND).snow_cover, [0, 0.5, 1])


def test_land_albedo_lies_between_bare_ground_and_snow():
    np.testing.assert_allclose(albedo(BARE, SNOW, ICE, LAND).land, [0.2, 0.45, 0.6], rtol=1e-15)


def test_sea_albedo_lies_between_water_and_ice():
    np.testing.assert_allclose(albedo(BARE, SNOW, ICE, LAND).sea, [0.07, 0.335, 0.6], rtol=1e-15)


def test_mean_albedo_is_weighted_with_the_land_fraction():
    result = albedo(BARE, SNOW, ICE, LAND)
    np.testing.assert_allclose(
        result.mean, [0.07, (0.45 + 0.335) / 2, 0.6], rtol=1e-15
    )


def test_zero_widths_change_no_bit():
    exact, zero = (albedo(BARE, SNOW, ICE, LAND, widths=w)
                   for w in (EXACT, SurfaceWidths()))  # fmt: skip
    np.testing.assert_array_equal(exact.mean, zero.mean)


def test_smooth_albedo_has_the_derivatives_of_central_differences():
    def total(snow):
        return jnp.sum(albedo(BARE, snow, ICE, LAND, widths=SurfaceWidths(cover=0.02)).land)

    snow, step = jnp.array([20.0, 59.5, 61.0]), 1e-4
    difference = [
        (total(snow.at[k].add(step)) - total(snow.at[k].add(-step))) / (2 * step) for k in range(3)
    ]
    np.testing.assert_allclose(jax.grad(total)(snow), difference, rtol=1e-6, atol=1e-12)
