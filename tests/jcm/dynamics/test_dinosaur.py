import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dinosaur.spherical_harmonic import vor_div_to_uv_nodal

import jcm
from jcm.dynamics.dinosaur import (
    from_modal,
    from_state,
    library_coordinates,
    to_modal,
    to_state,
)
from jcm.dynamics.vertical_operators import reference_temperature
from jcm.state import Prognostics, Tendency
from jcm.structure import INTEGRATORS

#: The tendency of both integrators is one program; what compiles a run or a gradient, one suffices.
LEAPFROG = pytest.mark.parametrize("dynamics", [
    "dinosaur", pytest.param("dinosaur_rk", marks=pytest.mark.slow)])
BOTH = pytest.mark.parametrize("dynamics", list(INTEGRATORS))
SHORT = 60.0


@functools.cache
def model_with(dynamics, time_step=None):
    return jcm.build_model("T21L8", dynamics=dynamics, time_step=time_step)


@functools.cache
def parameters():
    return jcm.reference_parameters(model_with("dinosaur"))


@functools.cache
def library_grid():
    model = model_with("dinosaur")
    return library_coordinates(
        model.grid, model.levels.half, model.constants.radius, jnp.result_type(float)).horizontal


def random_spectra(fields, seed=0):
    """Spectra of random fields, up to l = T + 1."""
    grid, rng = model_with("dinosaur").grid, np.random.default_rng(seed)
    noise = jnp.asarray(rng.standard_normal((grid.nlon, fields, grid.nlat)))
    return model_with("dinosaur").transform.analysis(noise).at[0, 1].set(0)


def mountains():
    """A smooth surface geopotential [m2 s-2]."""
    flat = jnp.zeros((22, 2, 1, 23))
    return flat.at[0, 0, 0, 2].set(-4000.0).at[3, :, 0, 2].set(1000.0).at[1, 1, 0, 0].set(-2000.0)


def smooth_state():
    """Waves of planetary scale in all variables, of the size they have in the atmosphere."""
    model = model_with("dinosaur")
    scale = 0.5 ** jnp.maximum(0, jnp.asarray(model.transform.degree) - 3.0)
    noise = model.transform.truncated(random_spectra(33, seed=1) * scale)
    vorticity, divergence, temperature, humidity = (noise[:, :, k : k + 8] for k in range(0, 32, 8))
    mean = jnp.asarray(reference_temperature(model.levels, model.constants) * np.sqrt(2))
    return Prognostics(
        (1e-4 * vorticity).at[..., 0, :, 0].set(0),
        (1e-5 * divergence).at[..., 0, :, 0].set(0),
        (20 * temperature).at[0, 0, :, 0].set(mean),
        1e-2 * humidity,
        0.1 * noise[:, :, 32:],
    )


def advance(model, state, *, surface=None, step=0, numbers=None, current=None, physics=None):
    """One step without physics, over a flat surface unless told otherwise."""
    dtype = state.vorticity.dtype
    flat = jnp.zeros((22, 2, 1, 23), dtype)
    if physics is None:
        physics = Tendency(*[jnp.zeros((model.levels.count, *model.grid.shape), dtype)] * 4)
    return _advance(
        model, state, state if current is None else current, physics,
        flat if surface is None else surface, flat, flat, jnp.asarray(step),
        parameters() if numbers is None else numbers)  # fmt: skip


@eqx.filter_jit
def _advance(model, *arguments):
    return model.dynamics.advance(*arguments)


@functools.cache
def tendency(dynamics, make_state, make_surface=None, time_step=SHORT):
    """The mean tendency over a short step from one state, without the filter of leapfrog."""
    state = make_state()
    surface = None if make_surface is None else make_surface()
    step = 0 if dynamics == "dinosaur_rk" else -1
    new = advance(model_with(dynamics, time_step), state, surface=surface, step=step)[1]
    return jax.tree.map(lambda a, b: np.asarray(a - b) / time_step, new, state)


def correlation(a, b):
    return np.sum(a * b) / np.sqrt(np.sum(a * a) * np.sum(b * b))


# ---- spectra --------------------------------------------------------------------------------


def test_spectra_survive_the_way_to_the_library_and_back():
    spectrum = random_spectra(3)
    np.testing.assert_allclose(from_modal(to_modal(spectrum)), spectrum, rtol=0, atol=1e-15)


def test_spectra_of_the_library_survive_the_way_back_and_forth():
    grid = library_grid()
    modal = np.random.default_rng(0).standard_normal((2, *grid.modal_shape)) * grid.mask
    np.testing.assert_allclose(to_modal(from_modal(jnp.asarray(modal))), modal, rtol=1e-14)


def test_states_survive_the_way_to_the_library_and_back():
    state = smooth_state()
    back = from_state(to_state(state))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-14), back, state)


def test_synthesis_by_the_library_gives_the_same_fields():
    spectrum = random_spectra(2)
    fields = np.moveaxis(library_grid().to_nodal(to_modal(spectrum)), 0, 1)
    np.testing.assert_allclose(
        fields, model_with("dinosaur").transform.synthesis(spectrum), rtol=0, atol=1e-12)


def test_the_library_finds_the_same_wind():
    model, state = model_with("dinosaur"), smooth_state()
    expected = [
        np.moveaxis(model.transform.synthesis(x) / model.grid.cos_latitude, 1, 0)
        for x in model.transform.scaled_wind(state.vorticity, state.divergence)
    ]
    found = vor_div_to_uv_nodal(
        library_grid(), to_modal(state.vorticity), to_modal(state.divergence), clip=False)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


# ---- one step -------------------------------------------------------------------------------


def barotropic_state():
    """The same rotational wind at all levels, uniform pressure: no vertical motion."""
    state = smooth_state()
    still = jnp.zeros_like(state.divergence)
    return Prognostics(
        jnp.broadcast_to(state.vorticity[:, :, :1], still.shape), still,
        still.at[0, 0, :, 0].set(260.0 * np.sqrt(2)), still,
        jnp.zeros_like(state.log_surface_pressure))  # fmt: skip


@pytest.mark.parametrize("name", ["vorticity", "divergence"])
def test_without_vertical_motion_a_step_is_that_of_speedy(name):
    found, expected = (
        getattr(tendency(dynamics, barotropic_state, mountains, 1 / 64), name)
        for dynamics in ("dinosaur", "speedy"))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@BOTH
@pytest.mark.parametrize(
    ("name", "least"),
    [("vorticity", 0.999), ("divergence", 0.995), ("temperature", 0.97),
     ("specific_humidity", 0.98), ("log_surface_pressure", 0.9999)])  # fmt: skip
def test_tendencies_are_those_of_speedy_but_for_vertical_differences(dynamics, name, least):
    found, expected = (
        getattr(tendency(x, smooth_state, mountains), name) for x in (dynamics, "speedy"))
    assert correlation(found, expected) > least


def test_both_integrators_have_the_same_tendency():
    found, expected = (tendency(x, smooth_state, mountains) for x in ("dinosaur_rk", "dinosaur"))
    for name in ("vorticity", "divergence", "temperature", "log_surface_pressure"):
        a, b = getattr(found, name), getattr(expected, name)
        assert np.sqrt(np.sum((a - b) ** 2) / np.sum(b**2)) < 0.02, name


@BOTH
def test_the_tendency_by_the_physics_is_added_whole(dynamics):
    model, state = model_with(dynamics, SHORT), barotropic_state()
    shape = (8, *model.grid.shape)
    heating = jnp.broadcast_to(1e-4 * model.grid.sin_latitude, shape)
    zero = jnp.zeros(shape)
    step = 0 if dynamics == "dinosaur_rk" else -1
    with_physics, without = (
        advance(model, state, step=step, physics=Tendency(zero, zero, x, zero))[1].temperature
        for x in (heating, zero))
    found = model.transform.synthesis(with_physics - without) / SHORT
    np.testing.assert_allclose(np.moveaxis(found, 1, 0), heating, rtol=0, atol=1e-7)


@BOTH
def test_an_isothermal_atmosphere_over_a_flat_surface_stays_at_rest(dynamics):
    zero = jnp.zeros((22, 2, 8, 23))
    rest = Prognostics(
        zero, zero, zero.at[0, 0, :, 0].set(250 * np.sqrt(2)), zero, zero[:, :, :1])
    after = advance(model_with(dynamics), rest)[1]
    np.testing.assert_allclose(after.vorticity, 0, atol=1e-18)
    np.testing.assert_allclose(after.divergence, 0, atol=1e-18)
    np.testing.assert_allclose(after.temperature, rest.temperature, atol=1e-10)


@BOTH
def test_the_shortest_wave_decays_as_the_diffusion_says(dynamics):
    # Humidity of an atmosphere at rest feels diffusion alone: 1 / (1 + dt / 2.4 h).
    zero = jnp.zeros((22, 2, 8, 23))
    state = Prognostics(
        zero, zero, zero.at[0, 0, :, 0].set(250 * np.sqrt(2)),
        zero.at[3, 0, :, 18].set(1e-3), zero[:, :, :1])  # fmt: skip
    step = 0 if dynamics == "dinosaur_rk" else -1
    after = advance(model_with(dynamics), state, step=step)[1]
    np.testing.assert_allclose(
        after.specific_humidity[3, 0, :, 18], 1e-3 / (1 + 2400 / 8640), rtol=1e-12)


@BOTH
def test_the_mean_logarithm_of_surface_pressure_is_fixed(dynamics):
    state = smooth_state()
    after = advance(model_with(dynamics), state, surface=mountains())[1]
    np.testing.assert_allclose(
        after.log_surface_pressure[0, 0, 0, 0], state.log_surface_pressure[0, 0, 0, 0], rtol=1e-13)


@BOTH
def test_nothing_lies_beyond_the_truncation(dynamics):
    model = model_with(dynamics)
    after = advance(model, smooth_state(), surface=mountains())[1]
    beyond = np.broadcast_to(model.transform.degree > 21, (22, 2, 8, 23))
    assert np.all(np.asarray(after.vorticity)[beyond] == 0)
    assert np.all(np.asarray(after.temperature)[beyond] == 0)


def test_start_up_steps_of_runge_kutta_change_nothing():
    state = smooth_state()
    for after in advance(model_with("dinosaur_rk"), state, surface=mountains(), step=-2):
        jax.tree.map(np.testing.assert_array_equal, after, state)


def test_runge_kutta_leaves_two_equal_time_levels():
    previous, current = advance(model_with("dinosaur_rk"), smooth_state())
    jax.tree.map(np.testing.assert_array_equal, previous, current)


@BOTH
def test_32_bit_states_stay_32_bit(dynamics):
    single = functools.partial(jax.tree.map, lambda x: x.astype(jnp.float32))
    after = advance(model_with(dynamics), single(smooth_state()), numbers=single(parameters()))
    assert {x.dtype for x in jax.tree.leaves(after)} == {jnp.dtype("float32")}


# ---- derivatives and compilation ------------------------------------------------------------


@LEAPFROG
def test_derivatives_agree_with_differences(dynamics):
    model, state = model_with(dynamics), smooth_state()

    def loss(size):
        previous = jax.tree.map(lambda x: x * (1 + 0.1 * size), state)
        numbers = eqx.tree_at(
            lambda p: p.diffusion.temperature_time, parameters(), 8640.0 * (1 + size))
        after = advance(model, previous, current=state, surface=mountains() * (1 + size),
                        numbers=numbers)[1]  # fmt: skip
        return sum(
            jnp.sum(jnp.square(x)) / jnp.sum(jnp.square(y))
            for x, y in zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True))

    size = 1e-5
    difference = (loss(jnp.asarray(size)) - loss(jnp.asarray(-size))) / (2 * size)
    np.testing.assert_allclose(jax.grad(loss)(jnp.asarray(0.0)), difference, rtol=1e-7)


@BOTH
def test_other_parameters_and_mountains_compile_nothing_again(dynamics):
    model, traces = model_with(dynamics), []

    @jax.jit
    def step(state, surface, numbers):
        traces.append(None)
        return advance(model, state, surface=surface, numbers=numbers)[1].divergence

    numbers = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), parameters())
    first = step(smooth_state(), mountains(), numbers)
    faster = eqx.tree_at(lambda p: p.diffusion, numbers, replace_fn=lambda x: jax.tree.map(
        lambda value: 0.5 * value, x))  # fmt: skip
    second = step(smooth_state(), 2 * mountains(), faster)
    assert len(traces) == 1
    assert not np.allclose(first, second, rtol=1e-3)


# ---- runs -----------------------------------------------------------------------------------


@functools.cache
def mean_temperature(dynamics):
    """Global-mean temperature of each level over the first day from rest."""
    model = model_with(dynamics)
    inputs = jcm.default_inputs(model, state="rest")
    _, fields = jcm.simulate(model, inputs, days=1, observe=["air_temperature"])
    return np.average(
        fields["air_temperature"][0].mean(axis=1), axis=-1, weights=model.grid.quadrature_weight)


@pytest.mark.slow
@BOTH
def test_a_day_from_rest_is_as_warm_as_with_speedys_dynamics(dynamics):
    np.testing.assert_allclose(mean_temperature(dynamics), mean_temperature("speedy"), atol=0.1)


@LEAPFROG
def test_sixteen_levels_run(dynamics):
    half = tuple(np.linspace(0, 1, 17) ** 1.3)
    model = jcm.build_model("T21", dynamics=dynamics, physics="held_suarez", half_levels=half)
    inputs = jcm.default_inputs(model, state="rest")
    state, fields = jcm.simulate(model, inputs, days=0.25, observe=["air_temperature"])
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(state.current))
    assert fields["air_temperature"].shape == (1, 16, 64, 32)
    assert 150 < np.min(fields["air_temperature"]) < np.max(fields["air_temperature"]) < 350
