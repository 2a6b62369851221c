from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import jcm
from jcm.dynamics.leapfrog import FilterParameters, leapfrog
from jcm.dynamics.speedy import DynamicsFields
from jcm.state import Prognostics, Tendency

REFERENCE = Path(__file__).parents[2] / "reference" / "step.nc"
NAMES = ("vor", "div", "t", "q", "lnps")
LOW = 6
DT, STAGE = jnp.asarray(4800.0), jnp.asarray(2)


@pytest.fixture(scope="module")
def model():
    return jcm.build_model("T30L8", preset="speedy_f90")


@pytest.fixture(scope="module")
def reference():
    with xr.open_dataset(REFERENCE) as dataset:
        return dataset.load()


def spectrum(reference, name, level=None):
    """A spectrum of the file in the model's axes; zonal wavenumbers that it lacks are zero."""
    variable = reference[name]
    values = variable.values / (1e3 if variable.attrs["units"].startswith("g ") else 1)
    values = values if level is None else values[level]
    values = values if values.ndim == 4 else values[None]
    full = np.zeros((31, 2, values.shape[0], 32))
    full[: values.shape[1]] = values.transpose(1, 3, 0, 2)
    return jnp.asarray(full)


def stage(reference, label):
    """The spectra of a stage; the file leaves out what the stage does not change."""
    earlier = {"gridpart": "gridpart", "explicit": "gridpart", "implicit": "gridpart"}
    found = []
    for name in NAMES:
        key = f"stepn_{name}dt_{label}"
        found.append(
            spectrum(reference, key if key in reference else f"stepn_{name}dt_{earlier[label]}"))
    return Prognostics(*found)


def prognostics(reference, pattern, level):
    return Prognostics(*(spectrum(reference, pattern.format(n), level) for n in NAMES))


def assert_equal(model, computed, expected):
    inside = np.asarray(model.transform.degree <= 30)[:LOW]
    for name, a, b in zip(NAMES, jax.tree.leaves(computed), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a)[:LOW] * inside, np.asarray(b)[:LOW] * inside
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10 * np.abs(b).max(), err_msg=name)


def test_grid_tendencies_are_those_of_the_reference(model, reference):
    fields = model.dynamics.grid_fields(prognostics(reference, "stepn_in_{}", 1))
    tendency = model.dynamics.grid_tendency(fields)
    for name in "uvtq":
        expected = reference[f"stepn_{name}tend_dyn"].values / (1e3 if name == "q" else 1)
        computed = np.asarray(tendency[name])[:, :, ::6].transpose(1, 2, 0)
        np.testing.assert_allclose(
            computed, expected, rtol=0, atol=1e-10 * np.abs(expected).max(), err_msg=name)


def test_gravity_wave_terms_are_those_of_the_reference(model, reference):
    explicit = model.dynamics.linear_terms(
        stage(reference, "gridpart"), prognostics(reference, "stepn_in_{}", 0),
        spectrum(reference, "phis"))
    assert_equal(model, explicit, stage(reference, "explicit"))


def test_implicit_correction_is_that_of_the_reference(model, reference):
    implicit = model.dynamics.implicit_correction(stage(reference, "explicit"), STAGE, DT)
    assert_equal(model, implicit, stage(reference, "implicit"))


def test_diffusion_and_drag_are_those_of_the_reference(model, reference):
    final = model.dynamics.diffused(
        stage(reference, "implicit"), prognostics(reference, "stepn_in_{}", 0),
        spectrum(reference, "stepn_tcorh"), spectrum(reference, "stepn_qcorh"), DT,
        jcm.reference_parameters(model).diffusion)
    assert_equal(model, final, stage(reference, "final"))


def test_filtered_leapfrog_step_is_that_of_the_reference(model, reference):
    tendency = jax.tree.map(model.transform.truncated, stage(reference, "final"))
    levels = [prognostics(reference, "stepn_in_{}", level) for level in (0, 1)]
    out = leapfrog(*levels, tendency, DT, jnp.asarray(False), FilterParameters())
    for level in (0, 1):
        assert_equal(model, out[level], prognostics(reference, "stepn_out_{}", level))


def no_physics(model):
    zero = jnp.zeros((model.levels.count, *model.grid.shape))
    return Tendency(zero, zero, zero, zero)


def at_rest(model):
    """An isothermal atmosphere at rest over a flat surface."""
    t = model.grid.truncation
    zero = jnp.zeros((t + 1, 2, model.levels.count, t + 2))
    return Prognostics(
        zero, zero, zero.at[0, 0, :, 0].set(250.0 * np.sqrt(2)), zero, zero[:, :, :1])


def test_rest_over_a_flat_surface_stays_at_rest():
    model = jcm.build_model("T21L8")
    state, flat = at_rest(model), jnp.zeros((22, 2, 1, 23))
    after = model.dynamics.advance(
        state, state, no_physics(model), flat, flat, flat, jnp.asarray(0),
        jcm.reference_parameters(model))[1]
    np.testing.assert_allclose(after.vorticity, 0, atol=1e-18)
    np.testing.assert_allclose(after.divergence, 0, atol=1e-18)
    np.testing.assert_allclose(after.temperature, state.temperature, atol=1e-9)


def test_the_shortest_wave_decays_as_the_diffusion_says():
    # Humidity of an atmosphere at rest feels diffusion alone: 1 / (1 + 2 dt / 2.4 h).
    model = jcm.build_model("T21L8")
    rest, flat = at_rest(model), jnp.zeros((22, 2, 1, 23))
    q = rest.specific_humidity.at[3, 0, :, 18].set(1e-3)
    state = Prognostics(rest.vorticity, rest.divergence, rest.temperature, q,
                        rest.log_surface_pressure)  # fmt: skip
    parameters = jcm.reference_parameters(model)
    after = model.dynamics.advance(
        state, state, no_physics(model), flat, flat, flat, jnp.asarray(-1), parameters)[1]
    np.testing.assert_allclose(
        after.specific_humidity[3, 0, :, 18], 1e-3 / (1 + 2400 / 8640), rtol=1e-12)


def random_fields(model):
    rng = np.random.default_rng(0)
    shape = (model.grid.nlon, 8, model.grid.nlat)
    u, v, d, x = (jnp.asarray(rng.standard_normal(shape)) for _ in range(4))
    gradient = tuple(jnp.asarray(rng.standard_normal((shape[0], 1, shape[2]))) for _ in range(2))
    return DynamicsFields(u, v, u, d, x, x, gradient)


def test_nothing_passes_top_and_surface():
    model = jcm.build_model("T21L8")
    velocity, without, _ = model.dynamics.interface_velocity(random_fields(model))
    for field in velocity, without:
        assert field.shape == (model.grid.nlon, 9, model.grid.nlat)
        np.testing.assert_array_equal(field[:, [0, -1]], 0)
        assert np.all(np.abs(field[:, 1:-1]).max(axis=(0, 2)) > 0)


def test_vertical_advection_is_the_mean_flux_of_both_interfaces():
    model = jcm.build_model("T21L8")
    rng = np.random.default_rng(2)
    x = rng.standard_normal((model.grid.nlon, 8, model.grid.nlat))
    velocity = rng.standard_normal((model.grid.nlon, 9, model.grid.nlat))
    velocity[:, [0, -1]] = 0
    expected = np.zeros_like(x)
    for k, thickness in enumerate(model.levels.thickness):
        for interface in (k, k + 1):
            if 0 < interface < 8:
                jump = x[:, interface] - x[:, interface - 1]
                expected[:, k] -= velocity[:, interface] * jump / (2 * thickness)
    result = model.dynamics._advection(jnp.asarray(velocity), jnp.asarray(x))
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-12)


def test_vertical_transport_conserves_what_is_transported():
    model = jcm.build_model("T21L8")
    fields = random_fields(model)
    d, x = fields.divergence, fields.temperature
    velocity, _, p = model.dynamics.interface_velocity(fields)
    # In flux form, -d(sigma-dot x) = advection + x (horizontal divergence), which sums to zero.
    thickness = model.levels.thickness[:, None]
    divergence = p + d - model.dynamics._mean(d)
    total = np.sum((model.dynamics._advection(velocity, x) + x * divergence) * thickness, axis=1)
    np.testing.assert_allclose(total, 0, atol=1e-12)
