"""Optimal perturbations against dense decompositions, and against the model itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jcm
from jcm_sensitivity import box
from jcm_sensitivity.energy import (
    Coordinates,
    EnergyNorm,
    field_weights,
    grid_energy,
    weighted_fields,
)
from jcm_sensitivity.initial_state import increments_of, surface_pressure
from jcm_sensitivity.optimal import optimal_perturbations, perturbed
from jcm_sensitivity.singular_vectors import singular_vectors, tangent_product

STEPS = 4
DAYS = STEPS / 36


def lorenz96(x, steps=40, dt=0.01):
    """Lorenz (1996) with F = 8 by the classical Runge-Kutta scheme."""
    rate = lambda x: (jnp.roll(x, -1) - jnp.roll(x, 2)) * jnp.roll(x, 1) - x + 8  # noqa: E731

    def step(x, _):
        a = rate(x)
        b = rate(x + dt / 2 * a)
        c = rate(x + dt / 2 * b)
        return x + dt / 6 * (a + 2 * b + 2 * c + rate(x + dt * c)), None

    return jax.lax.scan(step, x, length=steps)[0]


def test_singular_vectors_of_lorenz96_are_those_of_the_dense_jacobian():
    point = lorenz96(jnp.asarray(8 + np.random.default_rng(0).normal(size=40)), steps=500)
    dense = np.linalg.svd(np.asarray(jax.jacfwd(lorenz96)(point)))
    found = singular_vectors(tangent_product(lorenz96, point), 40, count=4, tolerance=1e-10)
    np.testing.assert_allclose(found.value, dense.S[:4], rtol=1e-8)
    for x, expected in zip(found.initial, dense.Vh, strict=False):
        np.testing.assert_allclose(abs(x @ expected), 1, rtol=1e-8)
    assert found.residual.max() < 1e-8


def test_weighted_norms_give_the_generalised_singular_values():
    rng = np.random.default_rng(1)
    matrix, begin, end = rng.normal(size=(30, 20)), rng.uniform(1, 9, 20), rng.uniform(1, 9, 30)
    # Growth of x'x weighted with `end` against `begin`: eigenvalues of B^-1 M'E M.
    operator = np.diag(1 / begin) @ matrix.T @ np.diag(end) @ matrix
    growth = np.sort(np.sqrt(np.linalg.eigvals(operator).real))[::-1]
    product = tangent_product(
        lambda x: jnp.sqrt(end) * (matrix @ (x / jnp.sqrt(begin))), jnp.zeros(20))
    found = singular_vectors(product, 20, count=3, tolerance=1e-10)
    np.testing.assert_allclose(found.value, growth[:3], rtol=1e-8)
    np.testing.assert_allclose(np.linalg.norm(found.final, axis=1), found.value, rtol=1e-8)


def test_progress_counts_the_applications():
    seen = []
    product = tangent_product(lambda x: x * jnp.arange(1.0, 31.0), jnp.zeros(30))
    found = singular_vectors(product, 30, count=2, progress=seen.append)
    assert seen == list(range(1, found.applications + 1))


def test_failures_are_told():
    product = tangent_product(lambda x: x / 0, jnp.zeros(9))
    with pytest.raises(FloatingPointError, match="not finite"):
        singular_vectors(product, 9, count=1)
    with pytest.raises(ValueError, match="from 1 to 8"):
        singular_vectors(product, 9, count=9)
    hard = tangent_product(lambda x: x * (1 + 1e-6 * jnp.arange(300.0)), jnp.zeros(300))
    with pytest.raises(RuntimeError, match="more restarts"):
        singular_vectors(hard, 300, count=3, tolerance=1e-14, restarts=1)


@pytest.fixture(scope="module")
def model():
    return jcm.build_model("T21L8", physics="held_suarez")


@pytest.fixture(scope="module")
def inputs(model):
    return jcm.default_inputs(model)


def random_change(model, norm):
    space = Coordinates(model, norm)
    x = jnp.asarray(np.random.default_rng(2).normal(size=space.size))
    return space, x, space.change(x)


def test_number_of_coordinates_is_that_of_the_truncation(model):
    # 22 zonal coefficients and 231 pairs; global means of three kinds are left out.
    real = 22 + 2 * 231
    assert Coordinates(model, EnergyNorm()).size == 8 * (2 * (real - 1) + real) + real - 1
    assert Coordinates(model, EnergyNorm(moisture=1.0)).size == 8 * (3 * real + real - 2) + real - 1


@pytest.mark.parametrize("moisture", [0.0, 0.5])
def test_energy_is_half_the_square_of_the_coordinates(moisture, model, inputs):
    norm = EnergyNorm(280.0, moisture)
    space, x, change = random_change(model, norm)
    half = 0.5 * float(x @ x)
    np.testing.assert_allclose(space.coordinates(change), x, rtol=1e-12)
    weighted = weighted_fields(model, change, field_weights(model, norm))
    np.testing.assert_allclose(0.5 * float(weighted @ weighted), half, rtol=1e-12)
    fields = {name.removeprefix("state."): np.asarray(field)
              for name, field in increments_of(model, inputs, change).items()}  # fmt: skip
    energy = grid_energy(model, norm, fields, np.asarray(surface_pressure(model, inputs)))
    np.testing.assert_allclose(sum(np.sum(part) for part in energy.values()), half, rtol=1e-12)


def test_energy_of_solid_rotation_is_that_worked_out_by_hand(model):
    # u = 10 m s-1 cos(lat): the mean of u^2 over the sphere is 100 * 2 / 3.
    shape = (8, *model.grid.shape)
    still = np.zeros(shape)
    fields = {
        "eastward_wind": np.broadcast_to(10 * model.grid.cos_latitude, shape),
        "northward_wind": still, "air_temperature": still + 2.0,
        "surface_air_pressure": np.full(shape[1:], 1e3)}  # fmt: skip
    energy = grid_energy(model, EnergyNorm(300.0), fields, np.full(shape[1:], 1e5))
    np.testing.assert_allclose(np.sum(energy["kinetic"]), 100 / 3)
    np.testing.assert_allclose(np.sum(energy["thermal"]), 0.5 * 1004 / 300 * 4)
    np.testing.assert_allclose(energy["surface"], 0.5 * 1004 * 2 / 7 * 300 * 1e-4)
    assert set(energy) == {"kinetic", "thermal", "surface"}


def test_the_final_norm_of_a_region_sees_only_the_region(model):
    norm = EnergyNorm()
    _, _, change = random_change(model, norm)
    north, south = (box(*edges, 0, 360).fraction(model.grid) for edges in ((0, 90), (-90, 0)))
    parts = [weighted_fields(model, change, field_weights(model, norm, mask))
             for mask in (north, south, None)]  # fmt: skip
    energy = [float(part @ part) for part in parts]
    np.testing.assert_allclose(energy[0] + energy[1], energy[2], rtol=1e-12)
    assert 0.3 < energy[0] / energy[2] < 0.7


@pytest.fixture(scope="module")
def vectors(model, inputs):
    return optimal_perturbations(
        model, inputs, days=DAYS, count=2, tolerance=1e-6, region=box(20, 90, 0, 360))


def energy_of(model, fields, pressure, mask=None):
    parts = grid_energy(model, EnergyNorm(), fields, pressure, mask)
    return sum(float(np.sum(part)) for part in parts.values())


def on_model_grid(vectors, when, mode):
    names = ("eastward_wind", "northward_wind", "air_temperature", "surface_air_pressure")
    return {name: np.swapaxes(vectors[f"{when}_{name}"].sel(mode=mode).values, -1, -2)
            for name in names}  # fmt: skip


@pytest.mark.slow
def test_vectors_of_the_model_solve_the_eigenvalue_problem(vectors):
    assert vectors["residual"].max() < 1e-5
    assert vectors["growth"][0] > vectors["growth"][1] > 1


def test_growth_is_the_ratio_of_the_energies_of_the_fields(vectors, model, inputs):
    mask = box(20, 90, 0, 360).fraction(model.grid)
    pressure = np.asarray(surface_pressure(model, inputs))
    for mode in (1, 2):
        begin = energy_of(model, on_model_grid(vectors, "initial", mode), pressure)
        np.testing.assert_allclose(begin, 1.0, rtol=1e-9)
        late = jcm.simulate(model, inputs, days=DAYS, observe=())[0]
        later = np.asarray(surface_pressure(model, inputs.with_state(late)))
        end = energy_of(model, on_model_grid(vectors, "final", mode), later, mask)
        np.testing.assert_allclose(
            np.sqrt(end), float(vectors["growth"].sel(mode=mode)), rtol=1e-6)


def test_a_small_perturbation_of_the_model_grows_as_told(vectors, model, inputs):
    size = 1e-4
    run = lambda inputs: jcm.simulate(  # noqa: E731
        model, inputs, days=DAYS, average=False,
        observe=("eastward_wind", "northward_wind", "air_temperature", "surface_air_pressure"))[1]
    plain, moved = run(inputs), run(perturbed(model, inputs, vectors, factor=size))
    found = {name: (np.asarray(moved[name]) - np.asarray(plain[name]))[0] / size for name in plain}
    expected = on_model_grid(vectors, "final", 1)
    for name, field in expected.items():
        scale = np.abs(field).max()
        np.testing.assert_allclose(found[name], field, rtol=0, atol=2e-3 * scale)


@pytest.mark.slow
def test_dataset_has_units_and_energies_add_up(vectors):
    assert vectors["initial_eastward_wind"].attrs["units"] == "m s-1"
    assert vectors["final_air_temperature"].dims == ("mode", "level", "lat", "lon")
    terms = [vectors[f"initial_{term}_energy"] for term in ("kinetic", "thermal")]
    total = sum(term.sum("level") for term in terms) + vectors["initial_surface_energy"]
    np.testing.assert_allclose(total, 1.0, rtol=1e-9)


def test_bad_norms_are_refused(model, inputs):
    with pytest.raises(ValueError, match="reference temperature above 0 K"):
        optimal_perturbations(model, inputs, days=DAYS, norm=EnergyNorm(0.0))
    with pytest.raises(ValueError, match="multiple of the time step"):
        optimal_perturbations(model, inputs, days=0.001)
