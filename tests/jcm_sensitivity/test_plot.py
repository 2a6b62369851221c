"""Pictures are drawn without network and appear whole."""

import socket

import numpy as np
import pytest
import xarray as xr
from matplotlib.image import imread
from synthetic import stippled

from jcm.grid import make_grid
from jcm_sensitivity import plot_map, region
from jcm_sensitivity.plot import coastlines, colour_limit, map_figure


def field(values=None, name="T21"):
    grid = make_grid(name)
    if values is None:
        values = np.cos(np.deg2rad(grid.latitude))[:, None] * np.sin(np.deg2rad(grid.longitude))
    return xr.DataArray(
        values, dims=("lat", "lon"), coords={"lat": grid.latitude, "lon": grid.longitude},
        name="x", attrs={"long_name": "a test", "units": "K"})  # fmt: skip


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the picture asked for the network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


def test_picture_is_drawn_without_network(tmp_path, no_network):
    path = plot_map(field(), tmp_path / "map.png", region=region("tropical_pacific"), title="t")
    assert imread(path).shape[2] == 4
    assert [p.name for p in tmp_path.iterdir()] == ["map.png"]


@pytest.mark.parametrize("name", ["sahel", "tropics", "globe", "arctic"])
def test_outline_of_a_region_changes_the_picture(tmp_path, name):
    without = imread(plot_map(field(), tmp_path / "without.png"))
    outlined = imread(plot_map(field(), tmp_path / "with.png", region=region(name)))
    assert np.any(without != outlined)


def test_both_signs_have_colours_of_the_same_strength(tmp_path):
    up = imread(plot_map(field(np.full((32, 64), 1.0)), tmp_path / "up.png"))
    down = imread(plot_map(field(np.full((32, 64), -1.0)), tmp_path / "down.png"))
    middle = tuple(n // 2 for n in up.shape[:2])
    assert up[middle][0] > up[middle][2] and down[middle][0] < down[middle][2]


def test_map_of_zeros_can_be_drawn(tmp_path):
    assert plot_map(field(np.zeros((32, 64))), tmp_path / "zero.png").exists()


def test_colours_resolve_all_but_a_few_extreme_cells():
    values = np.ones(10000)
    assert colour_limit(values) == 1.0
    values[:3] = 1000.0
    assert colour_limit(values) == 1.0


@pytest.mark.parametrize(
    ("extremes", "arrows", "said"),
    [
        ((-1.0, 1.0), "neither", ""),
        ((-1.0, 40.0), "max", "; arrows: to 40"),
        ((-30.0, 1.0), "min", "; arrows: to -30"),
        ((-30.0, 40.0), "both", "; arrows: to -30 and 40"),
    ],
)
def test_bar_of_colours_reaches_the_strongest_value_or_says_what_exceeds_it(
    extremes, arrows, said
):
    values = np.ones((32, 64))
    values[:16], values[0, 0], values[-1, 0] = -1.0, *extremes
    mesh = map_figure(field(values), values)[1]
    assert mesh.colorbar.extend == arrows
    assert mesh.colorbar.ax.get_xlabel() == f"a test [K]{said}"


def test_points_are_exactly_the_significant_cells():
    mask = xr.zeros_like(field(), dtype=int)
    mask[10:14, 5:9] = 1
    assert stippled(map_figure(field(), field().values)[0]) == 0
    assert stippled(map_figure(field(), field().values, significant=mask)[0]) == 16
    assert stippled(map_figure(field(), field().values, significant=0 * mask)[0]) == 0


def test_coastlines_come_with_the_package():
    longitude, latitude = coastlines()
    assert np.nanmin(longitude) >= -180 and np.nanmax(longitude) <= 360
    assert np.nanmin(latitude) >= -90 and np.nanmax(latitude) <= 90


def test_monthly_map_is_refused(tmp_path):
    with pytest.raises(ValueError, match="select one month"):
        plot_map(field().expand_dims("month"), tmp_path / "map.png")


def test_map_with_gaps_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not finite"):
        plot_map(field(np.full((32, 64), np.nan)), tmp_path / "map.png")


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        plot_map(field(), tmp_path / "none" / "map.png")


def test_significant_cells_are_stippled(tmp_path):
    plain = imread(plot_map(field(), tmp_path / "plain.png"))
    mask = xr.zeros_like(field(), dtype=int)
    none = imread(plot_map(field(), tmp_path / "none.png", significant=mask))
    np.testing.assert_array_equal(none, plain)
    mask[10:14, 5:9] = 1
    some = imread(plot_map(field(), tmp_path / "some.png", significant=mask))
    darker = (plain - some)[..., :3].min(axis=-1) > 0.2
    # Sixteen points, each of a few pixels.
    assert 16 <= darker.sum() <= 16 * 20


def test_mask_of_another_grid_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected the grid of the map"):
        plot_map(field(), tmp_path / "map.png", significant=field(name="T31", values=np.ones(
            (48, 96))))  # fmt: skip
