"""Figures show what they are given."""

import numpy as np
import pytest
import xarray as xr
from calibration_files import (
    COVARIANCE,
    LABELS,
    TRUTH,
    bias,
    history,
    identifiability,
    posterior,
    predictions,
)
from matplotlib.image import imread

from jcm_calibrate.reports.plots import (
    plot_bias,
    plot_loss,
    plot_predictive,
    plot_spectrum,
    plot_traces,
)
from jcm_calibrate.reports.plots_posterior import plot_pairs, plot_ranks, titles
from jcm_calibrate.reports.plots_style import plain, short, write_figure


def visible(figure):
    return [axes for axes in figure.axes if axes.get_visible()]


def test_the_line_of_the_loss_never_rises_and_skips_what_is_not_finite():
    axes = plot_loss({"lbfgs": history()}).axes[0]
    best = axes.get_lines()[1].get_ydata()
    assert np.isfinite(best).all() and (np.diff(best) <= 0).all()
    assert best[-1] == np.nanmin(history()["value"])


def test_an_evaluation_that_is_not_finite_is_marked_at_its_cost():
    axes = plot_loss({"lbfgs": history()}).axes[0]
    assert axes.get_lines()[2].get_xdata() == [history()["cost"][7]]


def test_the_loss_axis_is_logarithmic_only_for_positive_values():
    rows = history()
    assert plot_loss({"a": rows}).axes[0].get_yscale() == "log"
    rows["value"] -= 100
    assert plot_loss({"a": rows}).axes[0].get_yscale() == "linear"


def test_traces_have_a_panel_per_parameter_with_the_truth():
    panels = visible(plot_traces(history(), LABELS, TRUTH))
    assert len(panels) == 4
    np.testing.assert_allclose(panels[1].get_lines()[0].get_ydata(), history()["iterate"][:, 1])
    assert panels[1].get_lines()[1].get_ydata()[0] == TRUTH[1]


def test_pairs_fill_the_lower_triangle():
    draws = np.random.default_rng(0).multivariate_normal(TRUTH, COVARIANCE, size=500)
    figure = plot_pairs(draws, LABELS, truth=TRUTH, gaussian=(TRUTH, COVARIANCE))
    assert len(visible(figure)) == 4 * 5 / 2


def test_the_ellipse_of_90_percent_holds_90_percent_of_the_draws():
    draws = np.random.default_rng(0).multivariate_normal(TRUTH, COVARIANCE, size=20_000)[:, :2]
    figure = plot_pairs(draws, LABELS[:2], gaussian=(TRUTH[:2], COVARIANCE[:2, :2]))
    curve = figure.axes[2].get_lines()[2].get_xydata()
    inverse = np.linalg.inv(COVARIANCE[:2, :2])
    size = lambda x: np.einsum("ni,ij,nj->n", x - TRUTH[:2], inverse, x - TRUTH[:2])  # noqa: E731
    assert abs((size(draws) < size(curve).mean()).mean() - 0.9) < 0.01


def test_ranks_have_a_panel_per_parameter_named_after_it():
    panels = visible(plot_ranks(posterior()))
    assert [axes.get_title() for axes in panels][:2] == ["relaxation_time", "entrainment"]
    assert len(panels) == 4


def test_names_of_a_posterior_with_scalars_and_vectors():
    group = xr.Dataset({
        "a": (("chain", "draw"), np.zeros((2, 3))),
        "b": (("chain", "draw", "i"), np.zeros((2, 3, 2)))}, {"i": ["x", "y"]})
    assert titles(group) == ["a", "b: x", "b: y"]


def test_bias_maps_share_their_colours_and_give_the_error():
    before, after = visible(plot_bias(bias(), bias(0.5)))[:2]
    assert before.collections[0].get_clim() == after.collections[0].get_clim()
    field = bias()
    weight = np.cos(np.deg2rad(field.lat.values))[:, None] * np.ones(field.shape)
    expected = np.sqrt((field.values**2 * weight).sum() / weight.sum())
    assert f"root mean square {expected:.3g}" in before.get_title()
    assert f"root mean square {expected / 2:.3g}" in after.get_title()


def test_predictions_are_shown_in_units_of_the_error():
    axes = plot_predictive(predictions()).axes[0]
    lines = {line.get_label(): line.get_ydata() for line in axes.get_lines()}
    np.testing.assert_allclose(lines["before"], (predictions()["before"] - 240) / 3)
    assert len(axes.get_xticks()) == 24


def test_the_spectrum_counts_the_directions_above_1():
    facts = identifiability()
    figure = plot_spectrum(facts["eigenvalues"], facts["directions"], LABELS)
    expected = (np.linalg.eigvalsh(COVARIANCE) < 0.5).sum()
    assert figure.axes[0].get_title().startswith(f"{expected} of 4")


def test_a_long_name_keeps_both_ends():
    assert short("parameters.clouds.relative_humidity") == "relative_humidity"
    assert len(short("a" * 40 + "z")) == 28 and short("a" * 40 + "z").endswith("z")
    assert plain("a$b") == r"a\$b"


def test_a_figure_is_written_as_a_picture(tmp_path):
    path = write_figure(plot_loss({"a": history()}), tmp_path / "loss.png")
    assert imread(path).std() > 0
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        write_figure(plot_loss({"a": history()}), tmp_path / "none" / "loss.png")


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="one column per parameter, 3"):
        plot_traces(history(), LABELS[:3])


def test_too_many_pairs_are_refused():
    with pytest.raises(ValueError, match="at most 12"):
        plot_pairs(np.zeros((5, 13)), ["a"] * 13)


def test_maps_of_different_grids_are_refused():
    with pytest.raises(ValueError, match="different grids"):
        plot_bias(bias(), bias().isel(lon=slice(32)))


def test_no_fits_are_refused():
    with pytest.raises(ValueError, match="no fits"):
        plot_loss({})
