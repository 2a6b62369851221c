"""Physics on other levels: averages over SPEEDY's layers and back conserve column integrals."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jcm
from jcm.constants import EARTH
from jcm.physics import Physics, SurfaceHeat, Surroundings
from jcm.physics.reference_layers import ReferenceLayers, overlap
from jcm.state import Columns, Tendency
from jcm.vertical import Levels, speedy_levels

SPEEDY = speedy_levels()
#: Sixteen layers whose interfaces are none of SPEEDY's.
SIXTEEN = Levels((
    0.0, 0.02, 0.06, 0.1, 0.16, 0.22, 0.3, 0.38, 0.46, 0.54, 0.62, 0.7, 0.78, 0.85, 0.92, 0.97, 1.0,
))  # fmt: skip


class Echo(Physics):
    """Returns the columns it sees as tendencies, and as a field."""

    smooth: bool = False

    def default_parameters(self):
        return {}

    def schemes(self):
        return ["echo"]

    def widths(self, parameters):
        return None

    def nothing_held(self, like):
        return like

    def tendencies(self, columns, around, held, radiation_due, parameters):
        nothing = jnp.zeros_like(columns.surface_pressure)
        return (
            Tendency(columns.eastward_wind, columns.northward_wind, columns.temperature,
                     columns.specific_humidity),
            held, SurfaceHeat(nothing, nothing, nothing, nothing, nothing),
            {"layered": columns.geopotential, "flat": columns.surface_pressure},
        )  # fmt: skip


def echo(levels, columns):
    flat, one = jnp.zeros_like(columns.surface_pressure), jnp.zeros(())
    scalars = ("year_fraction", "year")
    around = Surroundings(**{
        f.name: one if f.name in scalars else flat for f in dataclasses.fields(Surroundings)})
    physics = ReferenceLayers(Echo(), levels)
    return physics.tendencies(columns, around, None, jnp.asarray(True), {})


def random_columns(levels, seed=0):
    rng = np.random.default_rng(seed)
    layered = [jnp.asarray(rng.normal(size=(levels.count, 3))) for _ in range(5)]
    return Columns(*layered, surface_pressure=jnp.asarray(rng.uniform(0.6, 1.05, 3)))


def integral(levels, x):
    return np.einsum("k,k...->...", levels.thickness, np.asarray(x))


def pairs(tendency, columns):
    return (
        (tendency.eastward_wind, columns.eastward_wind),
        (tendency.northward_wind, columns.northward_wind),
        (tendency.temperature, columns.temperature),
        (tendency.specific_humidity, columns.specific_humidity),
    )


@st.composite
def levels_of_any_thickness(draw):
    thickness = draw(st.lists(st.floats(0.02, 1), min_size=2, max_size=30))
    half = np.concatenate([[0.0], np.cumsum(thickness) / np.sum(thickness)])
    half[-1] = 1.0
    return Levels(half)


@settings(max_examples=40, deadline=None)
@given(levels=levels_of_any_thickness())
def test_overlaps_fill_every_layer_once(levels):
    shared = overlap(levels, SPEEDY)
    assert shared.shape == (8, levels.count)
    assert np.all(shared >= 0)
    np.testing.assert_allclose(shared.sum(axis=0), levels.thickness, atol=1e-14)
    np.testing.assert_allclose(shared.sum(axis=1), SPEEDY.thickness, atol=1e-14)


@settings(max_examples=20, deadline=None)
@given(levels=levels_of_any_thickness(), seed=st.integers(0, 99))
def test_column_integrals_are_conserved_on_any_levels(levels, seed):
    columns = random_columns(levels, seed)
    tendency = echo(levels, columns)[0]
    for found, given_ in pairs(tendency, columns):
        np.testing.assert_allclose(
            integral(levels, found), integral(levels, given_), rtol=1e-12, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(levels=levels_of_any_thickness())
def test_a_constant_column_stays_constant(levels):
    columns = jax.tree.map(jnp.ones_like, random_columns(levels))
    for x, _ in pairs(echo(levels, columns)[0], columns):
        np.testing.assert_allclose(x, 1, rtol=1e-12)


def test_averaging_is_the_identity_on_speedys_own_layers():
    columns = random_columns(SPEEDY)
    tendency, _, _, fields = echo(SPEEDY, columns)
    for found, given_ in pairs(tendency, columns):
        np.testing.assert_allclose(found, given_, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(fields["layered"], columns.geopotential, rtol=1e-13, atol=1e-15)


def test_a_layer_inside_a_reference_layer_receives_its_tendency():
    # 0.92 to 0.97 lies in the lowest one, 0.90 to 1.
    columns = random_columns(SIXTEEN)
    tendency = echo(SIXTEEN, columns)[0]
    t = columns.temperature
    lowest = (0.02 * t[13] + 0.05 * t[14] + 0.03 * t[15]) / 0.10
    np.testing.assert_allclose(tendency.temperature[14], lowest, rtol=1e-12)


def test_layers_of_fields_are_spread_and_flat_fields_kept():
    columns = random_columns(SIXTEEN)
    fields = echo(SIXTEEN, columns)[3]
    assert fields["layered"].shape == columns.geopotential.shape
    np.testing.assert_array_equal(fields["flat"], columns.surface_pressure)


def test_what_is_held_has_the_reference_layers():
    held = ReferenceLayers(Echo(), SIXTEEN).nothing_held(jnp.ones((16, 4, 2)))
    assert held.shape == (8, 4, 2)


def test_the_precision_of_the_columns_is_kept():
    columns = jax.tree.map(lambda x: x.astype(jnp.float32), random_columns(SIXTEEN))
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(echo(SIXTEEN, columns)[0]))


# The physics of SPEEDY.


@pytest.fixture(scope="module")
def situation(small_model, small_inputs):
    """Columns on SPEEDY's layers, their surroundings, and nothing held."""
    ground = small_model.coupler.ground(
        small_inputs.forcing, small_model.transform, small_inputs.parameters,
        small_model.physics.widths(small_inputs.parameters))
    state = small_inputs.state
    columns = small_model.columns(state.previous, ground)
    around = small_model.coupler.surroundings(state.surface, state.daily, ground, state.step)
    return columns, around, small_model.physics.nothing_held(columns.temperature)


def physics_tendencies(physics, columns, around, held, inputs):
    return eqx.filter_jit(physics.tendencies)(
        columns, around, held, jnp.asarray(True), inputs.parameters)


@pytest.fixture(scope="module")
def on_sixteen(situation, small_model, small_inputs):
    """Columns interpolated to sixteen layers, and what the physics makes of them.

    The stratosphere stays dry: SPEEDY's shortwave radiation takes a pure number for a flux where
    a cloud reaches its second layer, and the energy of such columns is not closed.
    """
    columns, around, held = situation
    logs = np.log(SPEEDY.centre), np.log(SIXTEEN.centre)
    finer = jax.tree.map(
        lambda x: x if x.ndim == 2 else jnp.asarray(
            np.apply_along_axis(lambda y: np.interp(logs[1], logs[0], y), 0, np.asarray(x))),
        columns)  # fmt: skip
    dry = jnp.where(SIXTEEN.centre[:, None, None] < 0.14, 0, finer.specific_humidity)
    finer = eqx.tree_at(lambda c: c.specific_humidity, finer, dry)
    physics = ReferenceLayers(small_model.physics, SIXTEEN)
    return finer, physics_tendencies(physics, finer, around, held, small_inputs)


def test_speedy_on_its_own_layers_is_unchanged(situation, small_model, small_inputs):
    columns, around, held = situation
    direct, wrapped = (
        physics_tendencies(physics, columns, around, held, small_inputs)
        for physics in (small_model.physics, ReferenceLayers(small_model.physics, SPEEDY)))
    for a, b in zip(jax.tree.leaves(direct), jax.tree.leaves(wrapped), strict=True):
        # The programs are compiled apart.
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * max(np.abs(b).max(), 1e-300))


def test_models_with_speedys_layers_do_not_average(small_model):
    assert not isinstance(small_model.physics, ReferenceLayers)
    other = jcm.build_model("T21", half_levels=SIXTEEN.half)
    assert isinstance(other.physics, ReferenceLayers)


def test_water_of_a_column_on_sixteen_layers_changes_by_evaporation_less_rain(on_sixteen):
    columns, (tendency, _, _, fields) = on_sixteen
    mass = columns.surface_pressure * EARTH.reference_pressure / EARTH.gravity
    gained = mass * integral(SIXTEEN, tendency.specific_humidity)
    expected = fields["water_evapotranspiration_flux"] - fields["precipitation_flux"]
    np.testing.assert_allclose(gained, expected, atol=1e-12 * np.abs(expected).max())


def test_energy_of_a_column_on_sixteen_layers_changes_by_the_fluxes_at_its_ends(on_sixteen):
    columns, (tendency, _, _, f) = on_sixteen
    mass = columns.surface_pressure * EARTH.reference_pressure / EARTH.gravity
    gained = EARTH.heat_capacity * mass * integral(SIXTEEN, tendency.temperature)
    sun = f["toa_net_downward_shortwave_flux"] - f["surface_net_downward_shortwave_flux"]
    longwave = -f["toa_outgoing_longwave_flux"] - f["surface_net_downward_longwave_flux"]
    expected = (sun + longwave + f["surface_upward_sensible_heat_flux"]
                + EARTH.latent_heat * f["precipitation_flux"])  # fmt: skip
    np.testing.assert_allclose(gained, expected, atol=1e-10 * np.abs(expected).max())


def test_momentum_of_a_column_on_sixteen_layers_changes_by_the_stress(on_sixteen):
    columns, (tendency, _, _, fields) = on_sixteen
    mass = columns.surface_pressure * EARTH.reference_pressure / EARTH.gravity
    for name, x in (("eastward", tendency.eastward_wind), ("northward", tendency.northward_wind)):
        expected = -fields[f"surface_downward_{name}_stress"]
        np.testing.assert_allclose(
            mass * integral(SIXTEEN, x), expected, atol=1e-12 * np.abs(expected).max())


def test_sixteen_layers_see_the_water_and_energy_that_the_columns_have(on_sixteen):
    columns, _ = on_sixteen
    shared = overlap(SIXTEEN, SPEEDY) / SPEEDY.thickness[:, None]
    mean = np.einsum("kh,h...->k...", shared, columns.specific_humidity)
    np.testing.assert_allclose(
        integral(SPEEDY, mean), integral(SIXTEEN, columns.specific_humidity), rtol=1e-12)
