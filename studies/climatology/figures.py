"""Figures of a climatology beside the reference code or observations; nothing new is computed.

    python studies/climatology/figures.py --reference FILE FOLDER ...

draws again what `run.py` has drawn into folders that hold `climatology.nc`.
"""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import observations
import xarray as xr
from compare import (
    LATENT_HEAT,
    budget,
    global_mean,
    kind_of,
    kinetic_energy,
    sea_precipitation,
    spectral_power,
)
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm

from jcm.constants import DAY
from jcm.data import data_path

#: Dots per inch; maps are the largest files.
DPI, DPI_MAPS = 75, 62
#: Layer whose wind is drawn as a spectrum; sigma 0.2.
SPECTRUM_LAYER = 2


class Panel(NamedTuple):
    """Two fields to compare, with coordinates and contour levels."""

    title: str
    units: str
    model: np.ndarray
    other: np.ndarray
    levels: np.ndarray
    difference_levels: np.ndarray
    colours: str


def draw(climate: xr.Dataset, reference: xr.Dataset, kind: str, directory: Path) -> None:
    """Draw everything there is for this kind of reference into a folder."""
    if kind == "climatology":
        draw_sections(climate, reference, directory / "sections.png")
        draw_maps(climate, _maps(climate, reference), "reference", directory / "maps.png")
        draw_spectra(climate, reference, directory / "spectra.png")
        draw_budget(climate, reference, directory / "budget.png")
    else:
        draw_observed_sections(climate, directory / "sections.png")
        draw_maps(climate, _observed_maps(climate, reference), "ERA5", directory / "maps.png")


def draw_sections(climate: xr.Dataset, reference: xr.Dataset, path: Path) -> None:
    """Draw annual zonal means of wind, temperature and humidity on sigma."""
    mean = lambda data, name: data[name].values.mean(axis=(0, -1))  # noqa: E731
    panels = [
        Panel(title, units, mean(climate, name), mean(reference, name), levels, difference, colours)
        for name, title, units, levels, difference, colours in (
            ("u", "eastward wind", "m s-1", np.arange(-40, 41, 5), _symmetric(1), "RdBu_r"),
            ("t", "temperature", "K", np.arange(190, 311, 10), _symmetric(0.5), "viridis"),
            ("q", "specific humidity", "g kg-1", np.arange(0, 19, 2), _symmetric(0.1), "YlGnBu"))
    ]  # fmt: skip
    _section_figure(panels, "reference", climate["lat"].values, climate["level"].values,
                    ("sigma", "linear", (0.2, 0.4, 0.6, 0.8)), path)  # fmt: skip


def draw_observed_sections(climate: xr.Dataset, path: Path) -> None:
    """Draw annual zonal means on pressure levels beside ERA5."""
    low, high = observations.SECTION_RANGE
    with xr.open_dataset(data_path(observations.SEASONAL)) as seasonal:
        plev = seasonal["plev"].values
        levels = plev[(plev >= low) & (plev <= high)]
        observed = seasonal.sel(season="ANN", plev=levels)
        panels = []
        for name, title, contours, difference, colours in (
            ("ua", "eastward wind", np.arange(-40, 41, 5), _symmetric(10), "RdBu_r"),
            ("ta", "temperature", np.arange(190, 311, 10), _symmetric(10), "viridis"),
            ("hus", "specific humidity", np.arange(0, 19, 2), _symmetric(2), "YlGnBu"),
        ):
            field, factor, units = observations.SECTIONS[name]
            zonal, enough = observations.zonal_mean(climate, field, levels)
            both = [np.where(enough, x, np.nan) for x in (zonal, factor * observed[name].values)]
            panels.append(Panel(title, units, both[0], both[1], contours, difference, colours))
    axis = ("hPa", "log", (100.0, 200.0, 300.0, 500.0, 700.0, 900.0))
    _section_figure(panels, "ERA5", climate["lat"].values, levels / 100, axis, path)


def _section_figure(
    panels: list[Panel], other: str, lat: np.ndarray, height: np.ndarray,
    axis: tuple[str, str, tuple[float, ...]], path: Path,
) -> None:  # fmt: skip
    quantity, scale, ticks = axis
    figure, axes = plt.subplots(
        len(panels), 3, figsize=(13, 3 * len(panels)), squeeze=False, layout="constrained",
        sharex=True, sharey=True)
    for row, panel in zip(axes, panels, strict=True):
        for ax, (label, values, levels, colours) in zip(row, _triple(panel, other), strict=True):
            filled = ax.contourf(lat, height, values, levels, cmap=colours, extend="both")
            ax.set(title=f"{panel.title}, {label}", yscale=scale)
            figure.colorbar(filled, ax=ax, label=panel.units)
        row[0].set_ylabel(quantity)
    axes[0, 0].set_ylim(height.max(), height.min())
    axes[0, 0].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes[0, 0].minorticks_off()
    axes[0, 0].set_xticks(range(-90, 91, 30))
    for ax in axes[-1]:
        ax.set_xlabel("latitude")
    _save(figure, path)


def _triple(panel: Panel, other: str) -> list[tuple[str, np.ndarray, np.ndarray, str]]:
    return [
        ("model", panel.model, panel.levels, panel.colours),
        (other, panel.other, panel.levels, panel.colours),
        ("difference", panel.model - panel.other, panel.difference_levels, "RdBu_r"),
    ]


def _maps(climate: xr.Dataset, reference: xr.Dataset) -> list[Panel]:
    mean = lambda data, name: data[name].values.mean(axis=0)  # noqa: E731
    return [
        Panel("precipitation", "mm day-1", mean(climate, "prec"), mean(reference, "prec"),
              np.arange(0, 15, 1.0), _symmetric(2), "YlGnBu"),
        Panel("outgoing longwave", "W m-2", mean(climate, "olr"), mean(reference, "olr"),
              np.arange(130, 300, 10.0), _symmetric(10), "magma"),
    ]  # fmt: skip


def _observed_maps(climate: xr.Dataset, reference: xr.Dataset) -> list[Panel]:
    return [
        Panel("precipitation", "mm day-1", climate["prec"].values.mean(axis=0),
              reference["pr"].values.mean(axis=0) * DAY, np.arange(0, 15, 1.0), _symmetric(5),
              "YlGnBu"),
        Panel("near-surface air temperature", "K", climate["t0"].values.mean(axis=0),
              reference["tas"].values.mean(axis=0), np.arange(220, 311, 5.0), _symmetric(10),
              "viridis"),
    ]  # fmt: skip


def draw_maps(climate: xr.Dataset, panels: list[Panel], other: str, path: Path) -> None:
    """Draw annual means as maps with coastlines."""
    lon, lat = climate["lon"].values, climate["lat"].values
    figure, axes = plt.subplots(
        len(panels), 3, figsize=(15, 2.9 * len(panels)), squeeze=False, layout="constrained",
        sharex=True, sharey=True)
    for row, panel in zip(axes, panels, strict=True):
        for ax, (label, values, levels, colours) in zip(row, _triple(panel, other), strict=True):
            norm = BoundaryNorm(levels, 256, extend="both")
            filled = ax.pcolormesh(lon, lat, values, norm=norm, cmap=colours)
            _coastlines(ax)
            ax.set(title=f"{panel.title}, {label}", xlim=(0, 360), ylim=(-90, 90),
                   xticks=range(0, 361, 60), yticks=range(-90, 91, 30))  # fmt: skip
            figure.colorbar(filled, ax=ax, label=panel.units)
    _save(figure, path, DPI_MAPS)


def _coastlines(ax: Axes) -> None:
    with np.load(data_path("coastline_110m.npz")) as coast:
        for shift, side in ((0, coast["lon"] >= 0), (360, coast["lon"] < 0)):
            ax.plot(np.where(side, coast["lon"] + shift, np.nan), coast["lat"], "k", lw=0.5)


def draw_spectra(climate: xr.Dataset, reference: xr.Dataset, path: Path) -> None:
    """Draw power by total wavenumber of precipitation over sea and of the wind of monthly means."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    land = reference["fmask_l"].values
    for label, data, style in (("model", climate, "-"), ("reference", reference, "--")):
        wave = np.arange(1, 31)
        axes[0].loglog(wave, spectral_power(sea_precipitation(data, land))[1:], style, label=label)
        winds = (data[name].values[:, SPECTRUM_LAYER] for name in ("u", "v"))
        axes[1].loglog(wave, kinetic_energy(*winds)[1:], style, label=label)
    axes[0].set(title="annual precipitation over sea", ylabel="power, mm2 day-2")
    axes[1].set(title="kinetic energy of monthly-mean wind at sigma 0.2", ylabel="m2 s-2")
    for ax in axes:
        ax.set_xlabel("total wavenumber")
        ax.axvspan(21, 30, color="0.9", zorder=0)
        ax.legend()
    _save(figure, path)


def draw_budget(climate: xr.Dataset, reference: xr.Dataset, path: Path) -> None:
    """Draw the global energy budget."""
    names = ("tsr", "olr", "ssr", "slr", "shf", "evap", "prec")
    rows: dict[str, dict[str, float]] = {}
    for label, data in (("model", climate), ("reference", reference)):
        means = {name: global_mean(data, name) for name in names}
        sums = budget(means)
        rows[label] = {
            "net shortwave, top": means["tsr"], "outgoing longwave": means["olr"],
            "net, top": sums["net at the top"], "net shortwave, surface": means["ssr"],
            "net longwave up, surface": means["slr"], "sensible heat": means["shf"],
            "latent heat": LATENT_HEAT * means["evap"] / DAY,
            "net, surface": sums["net at the surface"]}  # fmt: skip
    figure, axes = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained", sharey=True)
    place = np.arange(len(rows["model"]))
    for shift, label in ((-0.2, "model"), (0.2, "reference")):
        bars = axes[0].barh(place + shift, list(rows[label].values()), 0.4, label=label)
        axes[0].bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
    change: Any = np.array(list(rows["model"].values())) - list(rows["reference"].values())
    axes[1].bar_label(axes[1].barh(place, change, 0.6, color="0.4"), fmt="%+.2f", padding=3,
                      fontsize=8)  # fmt: skip
    axes[0].set_yticks(place, list(rows["model"]))
    axes[0].invert_yaxis()
    axes[0].set(xlabel="W m-2", title="global energy budget")
    axes[0].margins(x=0.12)
    axes[1].margins(x=0.2)
    axes[1].axvline(0, color="k", lw=0.5)
    axes[1].set(xlabel="W m-2", title="model minus reference")
    axes[0].legend()
    _save(figure, path)


def _symmetric(limit: float) -> np.ndarray:
    """Return nine intervals up to a limit; the middle one holds 0."""
    positive = limit * np.array([0.2, 0.4, 0.6, 0.8, 1.0])
    return np.concatenate([-positive[::-1], positive])


def _save(figure: Any, path: Path, dpi: int = DPI) -> None:
    figure.savefig(path, dpi=dpi)
    plt.close(figure)


def main() -> None:
    """Draw the figures of finished folders."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--reference", type=Path, default=data_path("observations_T31.nc"))
    arguments = parser.parse_args()
    with xr.open_dataset(arguments.reference) as reference:
        kind = kind_of(reference, arguments.reference)
        for folder in arguments.folders:
            with xr.open_dataset(folder / "climatology.nc") as climate:
                draw(climate, reference, kind, folder)


if __name__ == "__main__":
    main()
