"""Patches of sea surface temperature against the adjoint, on runs that are known functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from synthetic import Mirror, cheap_inputs, mirror
from typer.testing import CliRunner

import jcm_sensitivity.commands.patches as command
import jcm_sensitivity.work.patches as work
import jcm_sensitivity.work.shared as shared
from jcm_sensitivity import REGIONS, box, mean
from jcm_sensitivity.experiment import MapExperiment
from jcm_sensitivity.patch_agreement import agreement, rebuilt_map, unexplained
from jcm_sensitivity.patches import (
    SEA_SURFACE_TEMPERATURE,
    compare_with_patches,
    patch_field,
    patch_layout,
)
from jcm_sensitivity.patches_plot import plot_patch_maps, plot_responses

RAIN = mean("precipitation_flux", region="tropical_pacific")
CENTRES = box(-21, 21, 120, -130, name="centres")


class HalfGradient(Mirror):
    """A run whose derivative is half of what it should be."""

    def __call__(self, inputs):
        fields = super().__call__(inputs)
        return {name: (x + jax.lax.stop_gradient(x)) / 2 for name, x in fields.items()}


class LostCells(Mirror):
    """A run whose derivative does not know the sea east of 169 E."""

    def __call__(self, inputs):
        fields = super().__call__(inputs)
        east = jnp.arange(64)[:, None] >= 30
        return {name: jnp.where(east, jax.lax.stop_gradient(x), x) for name, x in fields.items()}


class Curved(Mirror):
    """Rain grows with the square of the warming over 300 K as well."""

    def __call__(self, inputs):
        warm = inputs.forcing.sea_surface_temperature[0] - 300.0
        return {"precipitation_flux": jnp.stack([1e-6 * (warm + 0.1 * warm**2)] * 5)}


@pytest.fixture(scope="module")
def inputs(small_model):
    return cheap_inputs(small_model)


@pytest.fixture(scope="module")
def patches(small_model, inputs):
    return patch_layout(small_model, inputs, region=CENTRES)


def other(experiment, kind):
    return kind(experiment.model, 5.0, 1.0, True, None, "step")


def compared(experiment, inputs, patches, **options):
    return compare_with_patches(experiment, RAIN, [inputs], patches, **options)


@pytest.fixture(scope="module")
def linear(small_model, inputs, patches):
    return compare_with_patches(
        mirror(small_model), RAIN, [inputs, inputs], patches, amplitudes=(0.5, 1.0))


# ---- patches ------------------------------------------------------------------------------------


def test_a_patch_is_1_at_its_centre_and_a_half_at_half_of_its_width(small_model):
    grid = small_model.grid
    hump = patch_field(grid, (float(grid.latitude[16]), 180.0), half_widths=(20.0, 45.0))
    assert hump[32, 16] == 1
    np.testing.assert_allclose(hump[28, 16], 0.5)  # 22.5 degrees west
    assert hump[24, 16] == 0  # 45 degrees west
    north = grid.latitude[18] - grid.latitude[16]
    np.testing.assert_allclose(hump[32, 18], np.cos(np.pi / 2 * north / 20) ** 2)


def test_a_patch_goes_across_greenwich(small_model):
    hump = patch_field(small_model.grid, (0.0, 0.0))
    np.testing.assert_allclose(hump[1], hump[-1])
    assert hump[1].max() > 0.5


def test_patches_along_a_row_add_up_to_the_hump_in_latitude(small_model):
    total = sum(patch_field(small_model.grid, (0.0, lon)) for lon in range(0, 360, 40))
    np.testing.assert_allclose(total, np.broadcast_to(total[:1], total.shape), atol=1e-15)
    np.testing.assert_allclose(
        total[0], np.where(np.abs(small_model.grid.latitude) < 10, np.cos(
            np.pi / 20 * small_model.grid.latitude) ** 2, 0))  # fmt: skip


def test_only_the_sea_changes(patches, inputs):
    assert patches.count == 14
    land = np.asarray(inputs.forcing.land_fraction) == 1
    assert land.any() and not patches.field[:, land].any()


def test_centres_are_one_half_width_apart_and_staggered(patches):
    centres = set(zip(patches.latitude, patches.longitude, strict=True))
    assert {(0.0, 140.0), (0.0, 180.0), (10.0, 160.0), (-10.0, 200.0), (20.0, 220.0)} <= centres


def test_patches_of_the_whole_globe_do_not_come_twice(small_model, inputs):
    globe = patch_layout(small_model, inputs, region=REGIONS["globe"], half_widths=(30, 60))
    centres = list(zip(globe.latitude, globe.longitude, strict=True))
    assert len(set(centres)) == len(centres)


def test_patches_on_land_only_are_refused(small_model, inputs):
    with pytest.raises(ValueError, match="hump on the sea; choose another region"):
        patch_layout(small_model, inputs, region=box(18, 22, 0, 20), half_widths=(10, 20))


def test_a_patch_narrower_than_the_grid_is_refused(small_model):
    with pytest.raises(ValueError, match=r"spacing of the grid, 5.62 degrees.*got 3 and 40"):
        patch_field(small_model.grid, (0.0, 180.0), half_widths=(3, 40))


def test_a_centre_beyond_the_pole_is_refused(small_model):
    with pytest.raises(ValueError, match="centre of a patch"):
        patch_field(small_model.grid, (91.0, 180.0))


def test_a_part_of_sea_of_0_is_refused(small_model, inputs):
    with pytest.raises(ValueError, match="least_sea is a part between 0 and 1"):
        patch_layout(small_model, inputs, least_sea=0)


# ---- comparison ---------------------------------------------------------------------------------


def test_patches_find_what_the_adjoint_of_a_linear_run_predicts(linear):
    np.testing.assert_allclose(linear["correlation"], 1, rtol=1e-9)
    np.testing.assert_allclose(linear["slope"], 1, rtol=1e-9)
    np.testing.assert_allclose(linear["slope_total_least_squares"], 1, rtol=1e-9)
    assert float(linear["nonlinear_part"].max()) < 1e-9


def test_the_prediction_is_the_mean_of_the_patch_over_the_region(linear, patches, small_model):
    grid = small_model.grid
    cells = REGIONS["tropical_pacific"].fraction(grid) * grid.cell_area
    expected = 1e-6 * 86400 * (patches.field * cells).sum((1, 2)) / cells.sum()
    np.testing.assert_allclose(linear["predicted_response"][1, 0], expected, rtol=1e-12)
    assert linear["target_units"].item() == "mm day-1"


def test_a_gradient_of_half_the_size_gives_slope_2(small_model, inputs, patches):
    found = compared(other(mirror(small_model), HalfGradient), inputs, patches)
    np.testing.assert_allclose(found["slope"], 2, rtol=1e-9)
    np.testing.assert_allclose(found["correlation"], 1, rtol=1e-9)


def test_a_gradient_that_misses_a_part_of_the_sea_lowers_the_correlation(
    small_model, inputs, patches
):
    found = compared(other(mirror(small_model), LostCells), inputs, patches)
    assert float(found["correlation"].max()) < 0.9


def test_nonlinearity_is_the_second_difference(small_model, inputs, patches):
    found = compared(other(mirror(small_model), Curved), inputs, patches, amplitudes=[1.0, 2.0])
    cells = REGIONS["tropical_pacific"].fraction(small_model.grid) * small_model.grid.cell_area
    square = 86400e-6 * 0.1 * (patches.field**2 * cells).sum((1, 2)) / cells.sum()
    np.testing.assert_allclose(found["nonlinearity"][0, 0, 0], 2 * square, atol=1e-10)
    np.testing.assert_allclose(found["nonlinearity"][0, 0, 1], 8 * square, atol=1e-10)
    np.testing.assert_allclose(found["slope"], 1, rtol=1e-9)


def test_the_rest_of_a_jump_does_not_depend_on_the_amplitude(small_model, inputs, patches):
    class Jump(Mirror):
        def __call__(self, inputs):
            sea = inputs.forcing.sea_surface_temperature[0]
            fields = super().__call__(inputs)
            return {name: x + 1e-6 * jnp.any(sea > before) for name, x in fields.items()}

    before = inputs.forcing.sea_surface_temperature[0]
    found = unexplained(compared(
        other(mirror(small_model), Jump), inputs, patches, amplitudes=[0.1, 1.0]))
    # All warm runs jump, no cool one does.
    np.testing.assert_allclose(found["rest"], 0.0864 / np.sqrt(2), rtol=1e-6)
    np.testing.assert_allclose(found["predicted_share"], 0.5)


def test_several_targets_share_the_runs(small_model, inputs, patches):
    south = mean("precipitation_flux", region=box(-20, 0, 160, 200))
    both = compare_with_patches(mirror(small_model), [RAIN, south], [inputs], patches)
    alone = compare_with_patches(mirror(small_model), south, [inputs], patches)
    np.testing.assert_allclose(
        both["linear_response"][:, 1], alone["linear_response"][:, 0], rtol=1e-12)


def test_a_comparison_goes_on_where_it_stopped(small_model, inputs, patches, tmp_path):
    asked = []
    run = lambda: compared(  # noqa: E731
        mirror(small_model), inputs, patches, store=tmp_path,
        progress=lambda done, count: asked.append((done, count)))  # fmt: skip
    first = run()
    files = sorted(tmp_path.rglob("runs_*.npz"))
    assert len(files) == patches.count and asked[-1] == (14, 14)
    with np.load(files[3]) as file:
        kept = dict(file)
    np.savez(files[3], **(kept | {"values": kept["values"] * np.array([[1.0]] * 4 + [[2.0]])}))
    files[5].unlink()
    second = run()
    differs = (first["warm_response"] != second["warm_response"]).isel(state=0, target=0)
    assert differs.any("amplitude").values.nonzero()[0].tolist() == [3]


def test_a_store_of_other_amplitudes_is_refused(small_model, inputs, patches, tmp_path):
    compared(mirror(small_model), inputs, patches, store=tmp_path, amplitudes=[1.0])
    with pytest.raises(ValueError, match=r"amplitudes was \[1.0\], is now \[2.0\]"):
        compared(mirror(small_model), inputs, patches, store=tmp_path, amplitudes=[2.0])


@pytest.mark.parametrize("amplitudes", [[0.0], [-1.0], [np.nan], []])
def test_amplitudes_that_are_no_positive_numbers_are_refused(
    small_model, inputs, patches, amplitudes
):
    with pytest.raises(ValueError, match="amplitudes are positive numbers of kelvin"):
        compared(mirror(small_model), inputs, patches, amplitudes=amplitudes)


def test_the_same_amplitude_twice_is_refused(small_model, inputs, patches):
    with pytest.raises(ValueError, match="differ from each other"):
        compared(mirror(small_model), inputs, patches, amplitudes=[1.0, 1.0])


def test_two_patches_are_too_few(small_model, inputs):
    two = patch_layout(small_model, inputs, region=box(-1, 1, 175, 225))
    with pytest.raises(ValueError, match="at least 3 of them; got 2"):
        compared(mirror(small_model), inputs, two)


def test_a_run_that_is_not_finite_is_named(small_model, inputs, patches):
    class Unstable(Mirror):
        def __call__(self, inputs):
            warm = inputs.forcing.sea_surface_temperature[0, 32, 16]
            fields = super().__call__(inputs)
            return {name: jnp.where(warm > before, jnp.nan, x) for name, x in fields.items()}

    before = float(inputs.forcing.sea_surface_temperature[0, 32, 16])
    with pytest.raises(FloatingPointError, match=r"not finite in runs with \d+ patches, first"):
        compared(other(mirror(small_model), Unstable), inputs, patches)


# ---- numbers and maps ---------------------------------------------------------------------------


def test_patches_count_with_their_area():
    area = np.array([1.0, 3.0, 1.0])
    predicted, found = area * np.array([1.0, 2.0, 0.0]), area * np.array([1.0, 4.0, 2.0])
    # Densities (1, 2, 0) and (1, 4, 2) with weights 1, 3, 1.
    result = agreement(predicted, found, area)
    np.testing.assert_allclose(result.slope, (1 + 24) / (1 + 12))
    x, y, w = np.array([1, 2, 0]) - 1.4, np.array([1, 4, 2]) - 3.0, area
    np.testing.assert_allclose(
        result.correlation, (w * x * y).sum() / np.sqrt((w * x * x).sum() * (w * y * y).sum()))


def test_total_least_squares_do_not_depend_on_which_is_which():
    rng = np.random.default_rng(0)
    one, area = rng.normal(size=20), rng.uniform(1, 2, 20)
    two = 1.5 * one + 0.3 * rng.normal(size=20)
    np.testing.assert_allclose(
        agreement(one, two, area).total_slope, 1 / agreement(two, one, area).total_slope)


def test_equal_sensitivity_everywhere_gives_an_even_map(patches):
    humps = np.swapaxes(patches.field, 1, 2)
    area = humps.sum((1, 2))
    field = rebuilt_map(humps, 3.0 * area, area)
    np.testing.assert_allclose(field[humps.sum(0) > 0], 3.0)
    assert np.isnan(field[humps.sum(0) == 0]).all()


def test_smoothed_adjoint_and_rebuilt_map_of_a_linear_run_are_the_same(linear):
    np.testing.assert_allclose(
        linear["patch_map"][0, 1], linear["adjoint_map_smoothed"][0], rtol=1e-8, atol=1e-14)


def test_figures_are_written(linear, tmp_path):
    for path in (plot_responses(linear, tmp_path / "a.png"), plot_patch_maps(
            linear, tmp_path / "b.png", amplitude=1.0, region=REGIONS["tropical_pacific"])):
        assert path.read_bytes().startswith(b"\x89PNG")


# ---- command ------------------------------------------------------------------------------------


@pytest.fixture
def invoke(monkeypatch, small_model, inputs):
    import typer

    setup = MapExperiment(mirror(small_model), inputs, RAIN, (SEA_SURFACE_TEMPERATURE,))
    monkeypatch.setattr(shared, "default_experiment", lambda smooth: setup)
    monkeypatch.setattr(
        work, "initial_states", lambda model, inputs, count, spacing: [inputs] * count)
    app = typer.Typer()
    app.command()(command.patches_command)
    return lambda *arguments: CliRunner().invoke(app, [str(x) for x in arguments])


def test_the_command_writes_numbers_and_figures(invoke, tmp_path):
    result = invoke("--output", tmp_path, "--centres=-21,21,120,-130", "--amplitudes", "1")
    assert result.exit_code == 0, result.output
    assert "14, each warm and cool" in result.output and "yes" in result.output
    assert (tmp_path / "patches.png").is_file() and (tmp_path / "patch_maps.png").is_file()
    with xr.open_dataset(tmp_path / "patches.nc") as dataset:
        np.testing.assert_allclose(dataset["slope"], 1, rtol=1e-9)


@pytest.mark.parametrize("arguments, message", [
    (["--amplitudes", "0"], "positive numbers"),
    (["--half-widths", "10"], "two numbers of degrees"),
    (["--centres", "atlantis"], "unknown region 'atlantis'"),
    (["--centres", "1,2,3"], "SOUTH,NORTH,WEST,EAST"),
])  # fmt: skip
def test_bad_options_give_one_line(invoke, arguments, message):
    result = invoke(*arguments)
    assert result.exit_code == 1
    assert message in result.stderr and "Traceback" not in result.output
