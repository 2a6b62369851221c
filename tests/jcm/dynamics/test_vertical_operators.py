import numpy as np
import pytest

from jcm.constants import EARTH
from jcm.dynamics import vertical_operators as vertical
from jcm.vertical import Levels, speedy_levels

LEVELS = speedy_levels()


def test_gravity_waves_have_the_speeds_of_speedy():
    speeds = np.sqrt(np.linalg.eigvals(vertical.gravity_wave_matrix(LEVELS, EARTH)))
    expected = [306.7, 153.3, 66.4, 38.4, 20.3, 11.5, 6.5, 3.4]
    np.testing.assert_allclose(np.sort(speeds)[::-1], expected, atol=0.06)


def test_reference_temperature_is_that_of_speedy():
    expected = [217.150, 217.150, 217.150, 238.337, 255.909, 269.504, 279.031, 285.420]
    np.testing.assert_allclose(
        vertical.reference_temperature(LEVELS, EARTH), expected, atol=5e-4)


def test_temperature_matrix_is_that_of_speedy():
    h = vertical.temperature_matrix(LEVELS, EARTH)
    np.testing.assert_allclose(
        h[2], [-12.2444, -22.0399, -10.7736, -3.6724, -4.1315, -3.9019, -2.9838, -2.2953],
        atol=1e-4)
    np.testing.assert_allclose(
        h[7], [-4.1323, -7.4382, -9.9175, -13.2234, -14.8763, -14.0498, -10.7440, -7.1670],
        atol=1e-4)


def test_an_isothermal_atmosphere_has_the_barometric_height():
    levels = Levels(np.linspace(0, 1, 101))
    phi = vertical.geopotential_matrix(levels, EARTH) @ np.full(100, 250.0)
    expected = -EARTH.gas_constant * 250.0 * np.log(levels.centre)
    np.testing.assert_allclose(phi[5:], expected[5:], rtol=2e-3)


def test_lapse_rate_correction_is_that_of_speedy():
    c = vertical.lapse_rate_correction(LEVELS, EARTH)
    expected = [10.3712, 7.7430, 6.8415, 5.4082, 3.9804, 2.4645]
    np.testing.assert_allclose(np.diag(c[1:-1], 2)[: 6], expected, atol=5e-5)
    np.testing.assert_allclose(c @ np.ones(8), 0, atol=1e-12)


def test_implicit_matrix_of_no_step_is_the_identity_but_for_the_mean():
    inverse = vertical.implicit_inverse(LEVELS, EARTH, 21, 0.0)
    np.testing.assert_allclose(inverse[1:], np.broadcast_to(np.eye(8), (22, 8, 8)), atol=1e-15)
    assert not inverse[0].any()


@pytest.mark.parametrize("count, expected", [(5, 2), (7, 2), (8, 2)])
def test_the_two_uppermost_layers_are_the_stratosphere_of_speedys_tables(count, expected):
    assert vertical.stratospheric_layers(speedy_levels(count)) == expected


def test_split_layers_keep_the_depth_of_the_stratosphere():
    half = np.array(speedy_levels().half)
    split = Levels(np.sort(np.concatenate([half, (half[1:] + half[:-1]) / 2])))
    assert vertical.stratospheric_layers(split) == 4
    assert vertical.uppermost_layers(split) == 2
