import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcm.grid import make_grid
from jcm.transform import Transform

RADIUS = 6.371e6


@pytest.fixture(scope="module")
def transform():
    return Transform(make_grid("T21"), RADIUS)


def spectrum(transform, seed=0, fields=3):
    """A random spectrum inside the truncation; zonal means are real."""
    t = transform.truncation
    x = np.random.default_rng(seed).standard_normal((t + 1, 2, fields, t + 2))
    x[0, 1] = 0
    return transform.truncated(jnp.asarray(x))


def test_analysis_inverts_synthesis(transform):
    x = spectrum(transform)
    np.testing.assert_allclose(transform.analysis(transform.synthesis(x)), x, atol=1e-12)


def test_global_mean_is_the_first_coefficient_over_sqrt_2(transform):
    grid = make_grid("T21")
    field = transform.synthesis(spectrum(transform))
    mean = np.mean(field, axis=0) @ grid.quadrature_weight / 2
    np.testing.assert_allclose(mean, spectrum(transform)[0, 0, :, 0] / np.sqrt(2), atol=1e-13)


def test_a_constant_has_no_gradient(transform):
    constant = jnp.zeros_like(spectrum(transform)).at[0, 0, :, 0].set(1.0)
    for part in transform.scaled_gradient(constant):
        np.testing.assert_allclose(part, 0, atol=1e-20)


def test_curl_and_divergence_recover_vorticity_and_divergence(transform):
    grid = make_grid("T21")
    vorticity, divergence = (spectrum(transform, seed).at[0, :, :, 0].set(0) for seed in (1, 2))
    wind = transform.scaled_wind(vorticity, divergence)
    # Spectra of wind / cos(lat), as the operators expect them.
    a, b = (transform.analysis(transform.synthesis(w) / grid.cos_latitude**2) for w in wind)
    curl, div = (transform.truncated(x) for x in transform.curl_and_divergence(a, b))
    np.testing.assert_allclose(curl, vorticity, atol=1e-11)
    np.testing.assert_allclose(div, divergence, atol=1e-11)


def test_solid_rotation_has_the_wind_of_its_vorticity(transform):
    # u = U cos(lat): vorticity 2 U sin(lat) / a.
    grid, speed = make_grid("T21"), 10.0
    field = jnp.broadcast_to(2 * speed * grid.sin_latitude / RADIUS, (grid.nlon, 1, grid.nlat))
    still = jnp.zeros_like(spectrum(transform, 0, 1))
    u, v = transform.scaled_wind(transform.analysis(field), still)
    np.testing.assert_allclose(
        transform.synthesis(u)[0, 0] / grid.cos_latitude, speed * grid.cos_latitude, rtol=1e-11)
    np.testing.assert_allclose(transform.synthesis(v), 0, atol=1e-11)


def test_laplacian_of_a_harmonic_is_minus_l_l_plus_1(transform):
    x = spectrum(transform)
    gx, gy = transform.scaled_gradient(x)
    grid = make_grid("T21")
    a, b = (transform.analysis(transform.synthesis(g) / grid.cos_latitude**2) for g in (gx, gy))
    _, laplacian = transform.curl_and_divergence(a, b)
    expected = -transform.laplacian_factor(x) * x
    np.testing.assert_allclose(
        transform.truncated(laplacian), expected, atol=1e-11 * np.abs(expected).max())


def test_the_transpose_of_synthesis_is_its_adjoint(transform):
    x = spectrum(transform)
    y = transform.synthesis(spectrum(transform, 5))
    _, pull = jax.vjp(transform.synthesis, x)
    np.testing.assert_allclose(
        jnp.vdot(transform.synthesis(x), y), jnp.vdot(x, pull(y)[0]), rtol=1e-12)


def test_dropping_the_top_zonal_coefficient_changes_only_that_one():
    grid = make_grid("T21")
    kept, dropped = (Transform(grid, RADIUS, keep_top_zonal=k) for k in (True, False))
    field = jnp.asarray(np.random.default_rng(3).standard_normal((grid.nlon, 1, grid.nlat)))
    difference = np.array(kept.analysis(field) - dropped.analysis(field))
    assert difference[0, 0, 0, 22] != 0
    difference[0, 0, 0, 22] = 0
    assert not difference.any()


def test_float32_fields_stay_float32(transform):
    x = spectrum(transform).astype(jnp.float32)
    assert transform.synthesis(x).dtype == jnp.float32
    assert transform.analysis(transform.synthesis(x)).dtype == jnp.float32


def test_dinosaur_synthesises_the_same_field(transform):
    from dinosaur.spherical_harmonic import Grid

    grid = Grid.construct(max_wavenumber=21, gaussian_nodes=16)
    modal = np.zeros(grid.modal_shape)
    # Y for m = 3, l = 5: cosine coefficient 1.
    modal[2 * 3 - 1, 5] = 1.0
    x = jnp.zeros((22, 2, 1, 23)).at[3, 0, 0, 2].set((-1.0) ** 3 / (2 * np.sqrt(np.pi)))
    np.testing.assert_allclose(
        transform.synthesis(x)[:, 0], grid.to_nodal(jnp.asarray(modal)), atol=1e-12)
