"""Patches of sea surface temperature run forward, against the map of one adjoint run.

The classical way to a map of sensitivities is the method of Green's functions: one pair of runs for
each of many patches of warmer and of cooler sea. The adjoint gives the same map at once. Where both
ask for the response to a small change they have to agree, so each is a test of the other; where
they differ, the response is not linear in the size of the change.

Shape and layout of the patches are those of

Bloch-Johnson, J. and others (2024): "The Green's Function Model Intercomparison Project (GFMIP)
Protocol". J. Adv. Model. Earth Syst., 16, e2023MS003700,

in small: runs of days from given states, where the protocol has years and means over the weather.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from jcm.grid import Grid
from jcm.model import Model
from jcm.parameters import insert
from jcm.provenance import package_version
from jcm.results import cached, identify, locked
from jcm.simulate import Inputs
from jcm_sensitivity.changes import bound_targets
from jcm_sensitivity.ensembles import stack_members
from jcm_sensitivity.experiment import SEA_SURFACE_TEMPERATURE
from jcm_sensitivity.patch_agreement import Cost, comparison
from jcm_sensitivity.regions import Region, box
from jcm_sensitivity.runs import in_reverse

#: Half-widths of a patch in latitude and longitude [degrees], as in the protocol.
HALF_WIDTHS = (10.0, 40.0)
#: Beyond this latitude patches become wider in longitude, so that they keep their area [degrees].
WIDENING = 30.0
#: A patch is used if at least this part of its hump lies on the sea; chosen here.
LEAST_SEA = 0.5
#: Where patches lie by default: they cover the tropical Pacific.
PACIFIC = box(-21, 21, 120, -80, name="tropical Pacific")
#: Amplitudes [K]: one in which the response is nearly linear, one of the size of an anomaly.
AMPLITUDES = (0.1, 1.0)
Progress = Callable[[int, int], None]


class Patches(eqx.Module):
    """Humps of sea surface temperature of height 1; made by `patch_layout`."""

    #: Centres [degrees north, degrees east].
    latitude: Float[np.ndarray, " patch"]
    longitude: Float[np.ndarray, " patch"]
    #: Change of the sea surface temperature over the amplitude [1].
    field: Float[np.ndarray, "patch lon lat"]

    @property
    def count(self) -> int:
        """Number of patches."""
        return len(self.field)


def patch_field(
    grid: Grid, centre: tuple[float, float], *,
    half_widths: tuple[float, float] = HALF_WIDTHS, sea: np.ndarray | None = None,
) -> Float[np.ndarray, "lon lat"]:  # fmt: skip
    """Return a hump of height 1: the product of squared cosines of latitude and longitude.

    cos^2(pi/2 (lat - lat_0) / h_lat) cos^2(pi/2 (lon - lon_0) / h_lon) inside the half-widths, and
    0 beyond. Poleward of 30 degrees h_lon grows as 1 / cos(lat_0), up to the whole circle.

    Parameters
    ----------
    grid
        Grid of the model.
    centre
        Latitude and longitude of the centre [degrees].
    half_widths
        h_lat and h_lon [degrees].
    sea
        Where there is sea, for none of the hump on land; (lon, lat).

    Raises
    ------
    ValueError
        If the centre is no place, or the hump is too narrow for the grid.
    """
    latitude, longitude = centre
    if not (abs(latitude) <= 90 and math.isfinite(longitude)):
        raise ValueError(
            f"the centre of a patch is (latitude, longitude) in degrees; got {centre}")
    high, wide = half_widths
    spacing = 360.0 / grid.nlon
    if not (spacing <= high <= 90 and spacing <= wide <= 180):
        raise ValueError(
            f"half-widths of a patch in latitude and longitude are at least the spacing of the "
            f"grid, {spacing:.3g} degrees, and at most 90 and 180; got {high:g} and {wide:g}")
    wide = _width(latitude, wide)
    north = np.abs(grid.latitude - latitude)
    east = np.abs((grid.longitude - longitude + 180) % 360 - 180)
    hump = (np.where(east < wide, np.cos(np.pi / 2 * east / wide) ** 2, 0.0)[:, None]
            * np.where(north < high, np.cos(np.pi / 2 * north / high) ** 2, 0.0))  # fmt: skip
    return hump if sea is None else np.where(sea, hump, 0.0)


def _width(latitude: float, wide: float) -> float:
    """Return the half-width in longitude at a latitude."""
    if abs(latitude) <= WIDENING:
        return wide
    return min(180.0, wide / max(math.cos(math.radians(latitude)), 1e-6))


def patch_layout(
    model: Model, inputs: Inputs, *, region: Region = PACIFIC,
    half_widths: tuple[float, float] = HALF_WIDTHS, least_sea: float = LEAST_SEA,
) -> Patches:  # fmt: skip
    """Return patches whose centres lie in a region, one half-width apart, rows staggered.

    Neighbours overlap by half, as in the protocol: along a row the humps add up to 1. Rows are
    counted from the equator, and centres from the date line.

    Parameters
    ----------
    model, inputs
        Grid, and where land is. Only the sea of a patch changes.
    region
        Where the centres lie.
    half_widths
        In latitude and longitude [degrees]; also the distances between centres.
    least_sea
        Patches with less than this part of their hump on the sea are left out.

    Raises
    ------
    ValueError
        If half-widths or the part have no meaning, or no patch is left.
    """
    if not 0 < least_sea <= 1:
        raise ValueError(f"least_sea is a part between 0 and 1; got {least_sea}")
    grid = model.grid
    area = grid.cell_area
    sea_part = 1 - np.asarray(inputs.forcing.land_fraction, float)
    centres, fields = [], []
    for centre in _centres(region, half_widths):
        whole = patch_field(grid, centre, half_widths=half_widths)
        if (whole * sea_part * area).sum() >= least_sea * (whole * area).sum():
            centres.append(centre)
            fields.append(np.where(sea_part > 0, whole, 0.0))
    if not fields:
        raise ValueError(
            f"no patch of {half_widths[0]:g} x {half_widths[1]:g} degrees with its centre in "
            f"{region.description} has {least_sea:.0%} of its hump on the sea; choose another "
            "region, smaller patches, or a smaller part")
    latitude, longitude = np.array(centres).T
    return Patches(latitude, longitude, np.array(fields))


def _centres(region: Region, half_widths: tuple[float, float]) -> list[tuple[float, float]]:
    """Return latitude and longitude of the centres in a region, from south and west."""
    high, wide = half_widths
    if not (high > 0 and wide > 0):
        raise ValueError(f"half-widths are positive numbers of degrees; got {high} and {wide}")
    rows = range(math.ceil(region.south / high), math.floor(region.north / high) + 1)
    centres = []
    for row in rows:
        latitude = row * high
        # A whole number of patches goes around the globe.
        count = max(1, round(360 / _width(latitude, wide)))
        around = (180 + (np.arange(count) + row % 2 / 2) * 360 / count) % 360
        # A centre on the eastern edge belongs to the region, unless that is its western edge.
        inside = (around - region.west) % 360
        chosen = np.sort(inside[inside <= region.width - (region.width == 360) * 1e-9])
        centres += [(latitude, float((region.west + x) % 360)) for x in chosen]
    return centres


def compare_with_patches(
    experiment: Callable, target: Any, members: Sequence[Inputs], patches: Patches, *,
    amplitudes: Iterable[float] = AMPLITUDES, model: Model | None = None,
    store: str | Path | None = None, progress: Progress | None = None,
) -> xr.Dataset:  # fmt: skip
    """Compare the responses to patches of warmer and cooler sea with the map of the adjoint.

    From each initial state the model runs unchanged, and with each patch added to and subtracted
    from the sea surface temperature of all months. The adjoint run from the same state predicts
    the response: the integral of its map times the patch.

    Parameters
    ----------
    experiment
        `model_experiment(...)`, or a function from inputs to fields.
    target
        One target or several, which share all runs, as for `sensitivity`. Means over different
        days of one run give the comparison by lead.
    members
        Inputs of runs from several initial states, e.g. of `initial_states`.
    patches
        Made by `patch_layout`.
    amplitudes
        Heights of the patches [K].
    model
        Tells the grid; default that of the experiment.
    store
        Folder for the patches that are done; a comparison that was interrupted goes on there.
    progress
        Called with the number of patches done, of all states, and of all of them.

    Returns
    -------
    xr.Dataset
        By patch, initial state and target: `predicted_response` of the adjoint per kelvin, and by
        amplitude `linear_response` (R+ - R-) / 2A, `nonlinearity` R+ + R- - 2 R0; correlation and
        slopes, maps and costs as `patch_agreement.comparison` says.

    Raises
    ------
    ValueError
        If an amplitude is no positive number, there are fewer than 3 patches, the target does not
        fit the run, or the store belongs to another comparison.
    FloatingPointError
        If a run or a derivative is not finite.
    """
    sizes = _checked_sizes(amplitudes)
    model = getattr(experiment, "model", model)
    if model is None:
        raise ValueError("a function as experiment does not tell the grid; give model=")
    if patches.count < 3:
        raise ValueError(
            f"a correlation over patches needs at least 3 of them; got {patches.count}. "
            "Choose a larger region or smaller patches")
    several = isinstance(target, list | tuple)
    targets = list(target) if several else [target]
    stacked = stack_members(members)
    run, bound = bound_targets(experiment, targets, members[0])
    steps = jnp.asarray(np.concatenate([-sizes[::-1], [0.0], sizes]))
    programs, gradients, runs = _Programs(run, bound, steps), [], []
    folder = None if store is None else Path(store)
    with locked(folder):
        known = {} if folder is None else identify(
            version=package_version(), experiment=run, targets=bound, patches=patches,
            members=stacked, amplitudes=sizes.tolist())
        for i, member in enumerate(members):
            path = None if folder is None else folder / f"gradient_{i:03d}.npz"
            gradients.append(cached(path, partial(programs.gradients, member), known))
            for k, field in enumerate(patches.field):
                path = None if folder is None else folder / f"runs_{i:03d}_{k:03d}.npz"
                compute = partial(programs.responses, member, jnp.asarray(field))
                runs.append(cached(path, compute, known))
                if progress is not None:
                    progress(len(runs), len(members) * patches.count)
    cost = Cost(
        [float(t) for x in gradients for t in np.atleast_1d(x["seconds"])],
        [float(x["seconds"]) / len(steps) for x in runs])
    values = np.array([x["values"] for x in runs], float)
    _refuse_not_finite(values, patches)
    # (state and patch, step, target) -> (state, target, step, patch)
    shape = (len(members), patches.count, len(steps), len(bound))
    return comparison(
        model, bound, sizes, patches, np.moveaxis(values.reshape(shape), (1, 3), (3, 1)),
        np.array([x["gradient"] for x in gradients], float), cost, members[0])  # fmt: skip


def _checked_sizes(amplitudes: Iterable[float]) -> np.ndarray:
    sizes = np.array(sorted(amplitudes), float)
    if not sizes.size or not np.isfinite(sizes).all() or sizes.min() <= 0:
        raise ValueError(
            "amplitudes are positive numbers of kelvin, each run as a warm and as a cool patch; "
            f"got {', '.join(f'{x:g}' for x in sizes) or 'none'}")
    if len(np.unique(sizes)) < len(sizes):
        raise ValueError(f"amplitudes differ from each other; got {sizes.tolist()}")
    return sizes


# ---- what is run --------------------------------------------------------------------------------


class _Programs:
    """Runs with patches and adjoint runs; each is compiled when it is first needed."""

    def __init__(self, run: Callable, targets: tuple[Callable, ...], steps: Array):
        self.run, self.targets, self.steps = run, targets, steps
        self._compiled: dict[Callable, Any] = {}

    def responses(self, inputs: Inputs, field: Array) -> dict[str, Any]:
        """Return the targets of runs with multiples of a patch (step, target); and wall time."""
        values, seconds = self._timed(_runs, self.run, inputs, field, self.steps)
        return {"values": values, "seconds": seconds}

    def gradients(self, inputs: Inputs) -> dict[str, Any]:
        """Return derivatives to a change in all months (target, lon, lat); and wall time of each.

        Each target has its own adjoint run: that is what one map costs.
        """
        run = in_reverse(self.run)
        results = [self._timed(_gradient, run, inputs, row) for row in jnp.eye(len(self.targets))]
        gradient = np.array([np.asarray(x, float).sum(axis=0) for x, _ in results])
        bad = int((~np.isfinite(gradient)).sum())
        if bad:
            raise FloatingPointError(
                f"{bad} of {gradient.size} derivatives are not finite: shorten the run, or make "
                "the model with smooth switches: build_model(..., smooth=True)")
        return {"gradient": gradient, "seconds": [seconds for _, seconds in results]}

    def _timed(self, program: Any, run: Callable, *arguments: Any) -> tuple[np.ndarray, float]:
        if program not in self._compiled:
            self._compiled[program] = program.lower(run, self.targets, *arguments).compile()
        begin = time.perf_counter()
        result = np.asarray(self._compiled[program](run, self.targets, *arguments))
        return result, time.perf_counter() - begin


def _numbers(
    run: Callable, targets: tuple[Callable, ...], inputs: Inputs, sea: Array
) -> Float[Array, " target"]:
    """Return the targets of a run with another sea surface temperature."""
    fields = run(insert(inputs, {SEA_SURFACE_TEMPERATURE: sea}))
    return jnp.stack([target(fields) for target in targets])


@eqx.filter_jit
def _runs(
    run: Callable, targets: tuple[Callable, ...], inputs: Inputs, field: Array, steps: Array
) -> Array:
    # One after another: side by side, with exact switches, all branches would be computed.
    sea = inputs.forcing.sea_surface_temperature
    return jax.lax.map(
        lambda step: _numbers(run, targets, inputs, sea + step * field.astype(sea.dtype)),
        steps.astype(sea.dtype))


@eqx.filter_jit
def _gradient(
    run: Callable, targets: tuple[Callable, ...], inputs: Inputs, weight: Array
) -> Array:
    sea = inputs.forcing.sea_surface_temperature
    return jax.grad(
        lambda x: weight.astype(x.dtype) @ _numbers(run, targets, inputs, x))(sea)


def _refuse_not_finite(values: np.ndarray, patches: Patches) -> None:
    bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
    if bad.size:
        state, patch = divmod(int(bad[0]), patches.count)
        raise FloatingPointError(
            f"the target is not finite in runs with {bad.size} patches, first from initial state "
            f"{state + 1} with the patch at {patches.latitude[patch]:g} N, "
            f"{patches.longitude[patch]:g} E; take smaller amplitudes or a shorter time step")
