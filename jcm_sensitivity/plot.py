"""Pictures of sensitivity maps, with coastlines that come with the package.

Robinson projection centred on the Pacific. Nothing is downloaded: the outlines are Natural Earth's
of 1:110 million, packaged as `coastline_110m.npz`.
"""

from pathlib import Path
from typing import Any

import cartopy.crs as ccrs
import numpy as np
import xarray as xr
from cartopy.mpl.geoaxes import GeoAxes
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure

from jcm.data import data_path
from jcm.files import replacing
from jcm.grid import Grid
from jcm_sensitivity.regions import Region

#: Meridian in the middle of the picture [degrees east]; its opposite is the edge.
CENTRE = 180
#: Part of the cells that are not 0 whose values the colours resolve.
RESOLVED = 0.998
#: Longitudes at the edge are moved inside by this much [degrees].
INSET = 1e-3
#: Diameter of a point of stippling over the width of a cell on the equator, and largest [points].
STIPPLE, LARGEST_STIPPLE = 0.3, 3.0


def plot_map(
    field: xr.DataArray,
    path: str | Path,
    *,
    region: Region | None = None,
    title: str | None = None,
    significant: xr.DataArray | None = None,
) -> Path:
    """Draw a map and write it as PNG.

    Parameters
    ----------
    field
        Map on the model grid with dimensions lat and lon, attributes `long_name` and `units`.
    path
        The picture; it appears only when it is whole.
    region
        Region to outline, e.g. that of the target.
    title
        Heading; default the long name.
    significant
        Mask on the same grid, e.g. `NAME_significant` of `ensemble_map`: cells where it is not 0
        are stippled. Stippling shows what is significant, as in Wilks (2016); a map without a
        point has nothing that is.

    Raises
    ------
    ValueError
        If the field has other dimensions, or values that are not finite, or the mask does not fit.
    """
    field = checked_map(field)
    figure, _ = map_figure(
        field, field.values, region=region, title=title, significant=significant)
    path = Path(path)
    with replacing(path) as part:
        FigureCanvasAgg(figure).print_png(part, metadata={"Software": "jcm_sensitivity"})
    return path


def checked_map(field: xr.DataArray) -> xr.DataArray:
    """Return a map, latitude first.

    Raises
    ------
    ValueError
        If the field has other dimensions, or values that are not finite.
    """
    if set(field.dims) != {"lat", "lon"}:
        raise ValueError(
            f"expected a map with dimensions lat and lon, got {field.dims}; select one month first")
    if not np.isfinite(field.values).all():
        raise ValueError(f"{field.name} has values that are not finite")
    return field.transpose("lat", "lon")


def map_figure(
    field: xr.DataArray, values: np.ndarray, *, limit: float | None = None,
    region: Region | None = None, title: str | None = None,
    significant: xr.DataArray | None = None,
) -> tuple[Figure, QuadMesh]:  # fmt: skip
    """Return the figure of a map, and the cells that carry its colours.

    Parameters
    ----------
    field, region, title, significant
        As for `plot_map`.
    values
        All values that the colours shall show, those of other pictures included.
    limit
        Value of the strongest colour; default `colour_limit` of the values.

    Raises
    ------
    ValueError
        If the mask does not fit.
    """
    figure = Figure(figsize=(11, 6.2), layout="constrained")
    axes = map_axes(figure)
    mesh = draw_map(axes, field, limit or colour_limit(values), region=region,
                    significant=significant)  # fmt: skip
    colour_bar(
        figure, mesh, values,
        f"{field.attrs.get('long_name', field.name)} [{field.attrs.get('units', '1')}]", ax=axes,
        orientation="horizontal", shrink=0.6, aspect=40, pad=0.03)
    axes.set_title(title or str(field.attrs.get("long_name", field.name)), fontsize=11)
    return figure, mesh


def colour_bar(
    figure: Figure, mesh: QuadMesh, values: np.ndarray, label: str, **options: Any
) -> Colorbar:
    """Draw the bar of the colours; what exceeds them has an arrow, and its size in the label.

    Parameters
    ----------
    figure, mesh
        Where, and the cells that carry the colours.
    values
        All values that are shown with these colours; NaN is left out.
    label
        Quantity and units.
    options
        Of `Figure.colorbar`.
    """
    known = values[np.isfinite(values)]
    bottom, top = mesh.get_clim()
    low, high = (float(known.min()), float(known.max())) if known.size else (bottom, top)
    ends = {(False, False): "neither", (True, False): "min", (False, True): "max",
            (True, True): "both"}  # fmt: skip
    beyond = [f"{x:.2g}" for x, out in ((low, low < bottom), (high, high > top)) if out]
    bar = figure.colorbar(mesh, extend=ends[low < bottom, high > top], **options)
    bar.set_label(label + (f"; arrows: to {' and '.join(beyond)}" if beyond else ""))
    return bar


def map_axes(figure: Figure, *position: int) -> GeoAxes:
    """Return axes for a map of the globe, at a position as for `Figure.add_subplot`."""
    axes = figure.add_subplot(*position, projection=ccrs.Robinson(central_longitude=CENTRE))
    assert isinstance(axes, GeoAxes)
    axes.set_global()
    return axes


def draw_map(
    axes: GeoAxes, field: xr.DataArray, limit: float, *, region: Region | None = None,
    significant: xr.DataArray | None = None,
) -> QuadMesh:  # fmt: skip
    """Draw cells, coastlines, region and stippling; return the cells that carry the colours.

    Parameters
    ----------
    axes
        Made by `map_axes`.
    field, region, significant
        As for `plot_map`, latitude first.
    limit
        Value of the strongest colour.

    Raises
    ------
    ValueError
        If the mask does not fit.
    """
    projection = axes.projection
    grid = Grid("", 0, field.sizes["lon"], field.sizes["lat"])
    mesh = axes.pcolormesh(
        *_corners(projection, grid), cells(field.values), cmap="RdBu_r", vmin=-limit, vmax=limit,
        rasterized=True)  # fmt: skip
    _draw_coastlines(axes, projection)
    if region is not None:
        _draw_region(axes, projection, region)
    if significant is not None:
        _stipple(axes, projection, grid, significant)
    return mesh


def cells(values: np.ndarray) -> np.ndarray:
    """Return values (lat, lon) for the cells of a figure: the one at the seam comes twice."""
    return np.concatenate([values, values[:, :1]], axis=1)


def colour_limit(values: np.ndarray) -> float:
    """Return the largest value that has a colour of its own.

    A few cells may be far stronger than all others; colours resolve 99.8% of those that are not 0.
    """
    size = np.abs(values[values != 0])
    if not size.size:
        return 1.0
    limit = float(np.quantile(size, RESOLVED))
    exponent = 10.0 ** np.floor(np.log10(limit) - 1)
    return float(np.ceil(limit / exponent) * exponent)


def coastlines() -> tuple[np.ndarray, np.ndarray]:
    """Return longitude and latitude of the packaged coastlines, NaN between the pieces."""
    with np.load(data_path("coastline_110m.npz")) as file:
        return file["lon"].astype(float), file["lat"].astype(float)


def _project(
    projection: ccrs.Projection, longitude: np.ndarray, latitude: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    points = projection.transform_points(ccrs.PlateCarree(), longitude, latitude)
    return points[..., 0], points[..., 1]


def _corners(projection: ccrs.Projection, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners of the cells in the projection; the cell at the seam is cut in two."""
    half = 180.0 / grid.nlon
    longitude = np.concatenate([[INSET], grid.longitude + half, [360 - INSET]])
    longitude[-2] = 360 - half
    sine = np.concatenate([[-1.0], np.cumsum(grid.quadrature_weight) - 1.0])
    latitude = np.rad2deg(np.arcsin(np.clip(sine, -1, 1)))
    return _project(projection, *np.meshgrid(longitude, latitude))


def _draw_line(
    axes: Axes, projection: ccrs.Projection, longitude: np.ndarray, latitude: np.ndarray, **style
) -> None:
    """Draw a line, broken where it leaves the picture on one side to enter on the other."""
    x, y = _project(projection, longitude, latitude)
    width = np.ptp(np.asarray(projection.x_limits))
    jumps = np.flatnonzero(np.abs(np.diff(x)) > width / 2) + 1
    axes.plot(np.insert(x, jumps, np.nan), np.insert(y, jumps, np.nan), **style)


def _draw_coastlines(axes: Axes, projection: ccrs.Projection) -> None:
    _draw_line(axes, projection, *coastlines(), color="0.25", linewidth=0.7)


def _draw_region(axes: Axes, projection: ccrs.Projection, region: Region) -> None:
    west, east = region.west, region.west + region.width
    along, up = np.linspace(west, east, 181), np.linspace(region.south, region.north, 61)
    sides = [(along, np.full(181, region.south)), (along[::-1], np.full(181, region.north))]
    if region.width < 360:
        sides = [sides[0], (np.full(61, east), up), sides[1], (np.full(61, west), up[::-1])]
        sides = [tuple(np.concatenate(part) for part in zip(*sides, strict=True))]
    for longitude, latitude in sides:
        _draw_line(
            axes, projection, longitude, latitude, color="black", linewidth=1.6, linestyle="--")


def _stipple(
    axes: Axes, projection: ccrs.Projection, grid: Grid, significant: xr.DataArray
) -> None:
    """Mark the centres of significant cells with points."""
    if set(significant.dims) != {"lat", "lon"} or (
            significant.sizes["lon"], significant.sizes["lat"]) != grid.shape:
        raise ValueError(
            f"the mask of significant cells has {dict(significant.sizes)}; expected the grid of "
            f"the map, lat {grid.nlat} and lon {grid.nlon}")
    marked = significant.transpose("lat", "lon").values != 0
    longitude, latitude = np.meshgrid(grid.longitude, grid.latitude)
    x, y = _project(projection, longitude[marked], latitude[marked])
    # The map is about 9 inches wide.
    size = min(LARGEST_STIPPLE, STIPPLE * 9 * 72 / grid.nlon)
    axes.plot(x, y, linestyle="none", marker="o", markersize=size, color="black",
              markeredgewidth=0)  # fmt: skip
