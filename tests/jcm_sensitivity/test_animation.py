"""An animation has one picture for each lead, all with one colour scale."""

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from jcm.grid import make_grid
from jcm_sensitivity import region
from jcm_sensitivity.animation import animate


def maps(factors=(1.0, 0.5), dimension="lead"):
    grid = make_grid("T21")
    one = np.ones((grid.nlat, grid.nlon))
    return xr.DataArray(
        np.array([factor * one for factor in factors]), dims=(dimension, "lat", "lon"),
        coords={dimension: (dimension, np.arange(1.0, len(factors) + 1), {"units": "days"}),
                "lat": grid.latitude, "lon": grid.longitude},
        name="x", attrs={"long_name": "a test", "units": "K"})  # fmt: skip


def pictures(path):
    with Image.open(path) as image:
        frames = []
        for i in range(image.n_frames):
            image.seek(i)
            frames.append(np.asarray(image.convert("RGB")).astype(int))
        return frames


def middle(picture):
    """Mean colour of a patch of the South Pacific, which has no coast."""
    height, width = picture.shape[:2]
    return picture[int(0.6 * height):int(0.63 * height), int(0.55 * width):int(0.6 * width)].mean(
        axis=(0, 1))


def test_each_lead_is_one_picture_and_is_counted(tmp_path):
    seen = []
    path = animate(maps((1.0, 0.5, -1.0)), tmp_path / "a.gif", region=region("nino34"),
                   progress=lambda *x: seen.append(x))  # fmt: skip
    assert len(pictures(path)) == 3 and seen == [(1, 3), (2, 3), (3, 3)]
    assert [p.name for p in tmp_path.iterdir()] == ["a.gif"]


def test_colour_scale_is_the_same_in_all_pictures(tmp_path):
    full, half = map(middle, pictures(animate(maps((1.0, 0.5)), tmp_path / "a.gif")))
    # Half as strong is paler, by more than the palette of a GIF rounds.
    assert half.sum() > full.sum() + 100


def test_given_limit_sets_the_scale(tmp_path):
    strong = middle(pictures(animate(maps((1.0,)), tmp_path / "a.gif"))[0])
    pale = middle(pictures(animate(maps((1.0,)), tmp_path / "b.gif", limit=4.0))[0])
    assert pale.sum() > strong.sum() + 100


def test_days_may_lead_and_titles_change(tmp_path):
    one, two = pictures(animate(maps((1.0, 1.0), "day"), tmp_path / "a.gif"))
    changed = np.argwhere(np.abs(one - two).max(axis=2) > 60)
    assert len(changed) and changed[:, 0].max() < 0.1 * one.shape[0]


@pytest.mark.parametrize(
    ("field", "name", "options", "message"),
    [
        (maps().isel(lead=0), "a.gif", {}, "one more, such as lead"),
        (maps().expand_dims("month"), "a.gif", {}, "one more, such as lead"),
        (maps((np.nan,)), "a.gif", {}, "not finite"),
        (maps(), "a.png", {}, r"written as \*.gif"),
        (maps(), "a.gif", {"speed": 0.0}, "positive"),
    ],
)
def test_what_is_no_animation_is_refused(tmp_path, field, name, options, message):
    with pytest.raises(ValueError, match=message):
        animate(field, tmp_path / name, **options)


def test_missing_folder_is_reported(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        animate(maps(), tmp_path / "none" / "a.gif")
