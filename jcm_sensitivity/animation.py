"""Maps over lead time as an animation: one GIF with a fixed colour scale.

How an influence spreads is seen in the maps of one gradient for several leads or days; see
`plot_map` for what each picture shows.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from jcm.files import checked, replacing
from jcm_sensitivity.plot import cells, checked_map, map_figure
from jcm_sensitivity.regions import Region

#: Pictures per second, and points per inch of a picture.
SPEED, RESOLUTION = 2.0, 80
#: The last picture stays longer by this factor.
LAST = 3


def animate(
    maps: xr.DataArray, path: str | Path, *, region: Region | None = None,
    title: str | None = None, speed: float = SPEED, limit: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:  # fmt: skip
    """Draw maps one after another and write them as an animated GIF.

    Parameters
    ----------
    maps
        Maps with dimensions lat, lon and a leading one such as `lead` or `day`, whose coordinate
        and its units stand in the title; attributes `long_name` and `units`.
    path
        The animation, *.gif; it appears only when it is whole.
    region
        Region to outline, e.g. that of the target.
    title
        Heading; default the long name.
    speed
        Pictures per second.
    limit
        Value of the strongest colour in all pictures; default the one that resolves 99.8 % of all
        cells that are not 0.
    progress
        Called with the number of pictures drawn, and of all.

    Raises
    ------
    ValueError
        If the dimensions are others, a value is not finite, or the name does not end in .gif.
    FileNotFoundError
        If the folder does not exist.
    """
    path, dimension = checked(path), _leading(maps)
    if path.suffix.lower() != ".gif":
        raise ValueError(f"an animation is written as *.gif; got {path.name!r}")
    if not speed > 0 or (limit is not None and not limit > 0):
        raise ValueError(f"speed and limit are positive; got speed={speed}, limit={limit}")
    frames = [checked_map(maps.isel({dimension: i})) for i in range(maps.sizes[dimension])]
    heading = title or str(maps.attrs.get("long_name", maps.name))
    first = frames[0].assign_attrs(maps.attrs)
    figure, mesh = map_figure(
        first, maps.values, limit=limit, region=region, title=f"{heading}\n ")
    canvas, pictures = FigureCanvasAgg(figure), []
    figure.set_dpi(RESOLUTION)
    # Arranged once: nothing but the colours and the title shall move.
    canvas.draw()
    figure.set_layout_engine("none")
    for i, frame in enumerate(frames):
        mesh.set_array(cells(frame.values))
        figure.axes[0].set_title(f"{heading}\n{_when(maps, dimension, i)}", fontsize=11)
        canvas.draw()
        picture = Image.fromarray(np.asarray(canvas.buffer_rgba()).copy()).convert("RGB")
        pictures.append(picture.quantize(256, dither=Image.Dither.NONE))
        if progress is not None:
            progress(i + 1, len(frames))
    each = round(1000 / speed)
    durations = [each] * (len(pictures) - 1) + [LAST * each]
    with replacing(path) as part:
        pictures[0].save(
            part, format="GIF", save_all=True, append_images=pictures[1:], duration=durations,
            loop=0, disposal=1)  # fmt: skip
    return path


def _leading(maps: xr.DataArray) -> str:
    others = [str(name) for name in maps.dims if name not in ("lat", "lon")]
    if len(others) != 1 or not {"lat", "lon"} <= set(maps.dims) or not maps.size:
        raise ValueError(
            "expected maps with dimensions lat, lon and one more, such as lead; got "
            f"{dict(maps.sizes)}")
    return others[0]


def _when(maps: xr.DataArray, dimension: str, index: int) -> str:
    """Return what stands in the title of a picture: e.g. `lead 3 days`."""
    if dimension not in maps.coords:
        return f"{dimension} {index + 1} of {maps.sizes[dimension]}"
    at = maps[dimension]
    value = at.values[index]
    text = str(value)[:10] if np.issubdtype(at.dtype, np.datetime64) else (
        f"{value:g}" if np.issubdtype(at.dtype, np.number) else str(value))
    return f"{dimension.replace('_', ' ')} {text} {at.attrs.get('units', '')}".rstrip()
