"""How well the adjoint predicts the responses to patches: numbers and maps.

The response to a patch over the integral of its hump is the mean of the sensitivity under the
patch, a density per area. Patches are compared by these densities, each with the weight of its
area. A map is rebuilt from them as in the method of Green's functions: in each cell the mean over
the patches that cover it, weighted with their humps there, after

Zhou, C., Zelinka, M. D. and Klein, S. A. (2017): "Analyzing the dependence of global cloud feedback
on the spatial pattern of sea surface temperature change with a Green's function approach". J. Adv.
Model. Earth Syst., 9, 2174-2189.
"""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from jcm.model import Model
from jcm.provenance import provenance
from jcm.simulate import Inputs
from jcm_sensitivity.maps import (
    UNIT_AREA,
    UNIT_AREA_NAME,
    horizontal_coordinates,
    note_on_switches,
)
from jcm_sensitivity.units import displayed

#: Least correlation, and largest difference of the slope from 1, that count as agreement.
LEAST_CORRELATION, LARGEST_ERROR = 0.95, 0.1


class Cost(NamedTuple):
    """Measured wall time [s]: of each adjoint run, and of each forward run."""

    adjoint: Sequence[float] = ()
    forward: Sequence[float] = ()


class Agreement(NamedTuple):
    """Correlation and slopes of responses found against responses predicted, over patches."""

    #: Weighted correlation about the means.
    correlation: np.ndarray
    #: Regression through the origin: found = slope x predicted.
    slope: np.ndarray
    #: The same by total least squares, where both may err.
    total_slope: np.ndarray


def agreement(predicted: np.ndarray, found: np.ndarray, area: np.ndarray) -> Agreement:
    """Return how responses found follow those predicted; the last axis is that of patches.

    Parameters
    ----------
    predicted, found
        Responses to each patch, over its amplitude.
    area
        Integral of the hump of each patch: responses over it are compared, with it as weight.

    Returns
    -------
    Agreement
        NaN where all responses are alike.
    """
    predicted, found = np.broadcast_arrays(predicted, found)
    weight = area / area.sum()
    p, f = predicted / area, found / area
    product = lambda a, b: (weight * a * b).sum(axis=-1)  # noqa: E731
    inner = lambda a, b: product(_centred(a, weight), _centred(b, weight))  # noqa: E731
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = inner(p, f) / np.sqrt(inner(p, p) * inner(f, f))
        pp, pf, ff = product(p, p), product(p, f), product(f, f)
        slope = pf / pp
        # Direction of the leading eigenvector of [[pp, pf], [pf, ff]].
        total = (ff - pp + np.sqrt((ff - pp) ** 2 + 4 * pf**2)) / (2 * pf)
    return Agreement(correlation, slope, total)


def agrees(correlation: float, slope: float) -> bool:
    """Tell whether correlation and slope count as agreement."""
    return correlation >= LEAST_CORRELATION and abs(slope - 1) <= LARGEST_ERROR


def _centred(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return values - (weight * values).sum(axis=-1, keepdims=True)


def rebuilt_map(fields: np.ndarray, response: np.ndarray, area: np.ndarray) -> np.ndarray:
    """Return a map from responses to patches, per area; NaN where no patch is.

    Parameters
    ----------
    fields
        Humps; (patch, lat, lon).
    response
        Response to each patch, over its amplitude; (..., patch).
    area
        Integral of each hump.
    """
    total = fields.sum(axis=0)
    covered = total > 0
    part = np.where(covered, fields / np.where(covered, total, 1.0), np.nan)
    return np.einsum("...p,pyx->...yx", response / area, part)


def unexplained(dataset: xr.Dataset, tolerance: float = 0.05) -> xr.Dataset:
    """Return what single runs have beyond the prediction of the adjoint.

    A response that is smooth has a rest that shrinks with the square of the amplitude. A switch
    that flips adds a jump, whose size does not depend on the amplitude.

    Parameters
    ----------
    dataset
        Result of `compare_with_patches`.
    tolerance
        A run counts as predicted if its rest is at most this part of the largest prediction.

    Returns
    -------
    xr.Dataset
        By target and amplitude: `predicted_share`, the part of the runs, warm and cool from all
        states, that do as predicted; `rest`, the root mean square of the rest of all.
    """
    predicted = dataset["predicted_response"] * dataset["amplitude"]
    rest: xr.DataArray = xr.concat([dataset["warm_response"] - predicted,
                      dataset["cool_response"] + predicted], "sign")  # fmt: skip
    over = ("sign", "state", "patch")
    limit = tolerance * abs(predicted).max(("state", "patch"))
    return xr.Dataset({
        "predicted_share": (abs(rest) <= limit).mean(over),
        "rest": np.sqrt((rest**2).mean(over))})  # fmt: skip


def comparison(
    model: Model, targets: Sequence[Any], sizes: np.ndarray, patches: Any, values: np.ndarray,
    gradients: np.ndarray, cost: Cost, inputs: Inputs,
) -> xr.Dataset:  # fmt: skip
    """Return all that is made of the runs.

    Parameters
    ----------
    model, inputs
        Grid, and what the runs were.
    targets
        With their units and words.
    sizes, patches
        Amplitudes [K] and patches.
    values
        Targets of the runs with cool patches, the largest amplitude first, without, and with warm
        patches; (state, target, step, patch).
    gradients
        Derivatives to changes in each cell; (state, target, lon, lat).
    cost
        Wall time.

    Returns
    -------
    xr.Dataset
        Responses by patch, state, target and amplitude; `correlation`, `slope` and
        `slope_total_least_squares` of the means over states, and of each state; the
        `nonlinear_part`; maps of the adjoint and of the patches; wall time and ratios of costs.
    """
    grid, count = model.grid, len(sizes)
    factor, units = (np.array(x) for x in zip(
        *(displayed(getattr(x, "units", "1")) for x in targets), strict=True))  # fmt: skip
    values = values * factor.astype(float)[:, None, None]
    gradients = gradients * factor.astype(float)[:, None, None]
    area = np.einsum("pij,j->p", patches.field, grid.cell_area) / UNIT_AREA
    predicted = np.einsum("stij,pij->stp", gradients, patches.field)
    warm = values[:, :, count + 1 :] - values[:, :, [count]]
    cool = values[:, :, :count][:, :, ::-1] - values[:, :, [count]]
    linear = (warm - cool) / (2 * sizes[:, None])
    humps = np.swapaxes(patches.field, 1, 2)
    density = np.swapaxes(gradients.mean(axis=0) / (grid.cell_area / UNIT_AREA), -1, -2)
    at = ("state", "target", "amplitude", "patch")
    variables: dict[str, Any] = {
        "target_value": (at[:2], values[:, :, count].mean(axis=-1), {
            "long_name": "target of the unchanged run"}),
        "predicted_response": (("state", "target", "patch"), predicted, {
            "long_name": "integral of the adjoint map times the patch, per kelvin"}),
        "warm_response": (at, warm, {"long_name": "R+ - R0, change by the warm patch"}),
        "cool_response": (at, cool, {"long_name": "R- - R0, change by the cool patch"}),
        "linear_response": (at, linear, {"long_name": "(R+ - R-) / 2A, per kelvin"}),
        "nonlinearity": (at, warm + cool, {"long_name": "R+ + R- - 2 R0"}),
        "patch_area": (("patch",), area, {
            "long_name": "integral of the hump", "units": UNIT_AREA_NAME.strip("()")}),
        "patch_field": (("patch", "lat", "lon"), humps, {
            "long_name": "change of sea surface temperature over the amplitude", "units": "1"}),
        "adjoint_map": (("target", "lat", "lon"), density, {
            "long_name": f"sensitivity to sea surface temperature, K-1 {UNIT_AREA_NAME}-1, mean "
            "over states"}),
        "adjoint_map_smoothed": (
            ("target", "lat", "lon"), rebuilt_map(humps, predicted.mean(axis=0), area), {
                "long_name": "the adjoint map smoothed with the patches"}),
        "patch_map": (
            ("target", "amplitude", "lat", "lon"), rebuilt_map(humps, linear.mean(axis=0), area), {
                "long_name": "Green's function map rebuilt from the patches"}),
    }  # fmt: skip
    variables |= _numbers(predicted, linear, warm, cool, area) | _costs(cost, patches.count)
    return xr.Dataset(variables, coords=_coordinates(model, targets, units, sizes, patches), attrs=(
        provenance(model, inputs) | {
            "title": "Patches of sea surface temperature against the adjoint",
            "comment": f"In units of target_units. {note_on_switches(model)}".strip()}))


def _numbers(
    predicted: np.ndarray, linear: np.ndarray, warm: np.ndarray, cool: np.ndarray,
    area: np.ndarray,
) -> dict[str, Any]:  # fmt: skip
    """Return agreement of means over states and of each, and the part that is not linear."""
    mean = agreement(predicted.mean(axis=0)[:, None], linear.mean(axis=0), area)
    each = agreement(predicted[:, :, None], linear, area)
    size = lambda x: np.sqrt((x**2).mean(axis=(0, -1)))  # noqa: E731
    result: dict[str, Any] = {}
    for name, words in (("correlation", "area-weighted correlation over patches"),
                        ("slope", "response found over response predicted, through the origin"),
                        ("total_slope", "the same slope by total least squares")):
        key = {"total_slope": "slope_total_least_squares"}.get(name, name)
        attributes = {"long_name": words, "units": "1"}
        result[key] = (("target", "amplitude"), getattr(mean, name), attributes)
        result[f"{key}_by_state"] = (
            ("state", "target", "amplitude"), getattr(each, name), attributes)
    with np.errstate(divide="ignore", invalid="ignore"):
        part = size(warm + cool) / size(warm - cool)
    return result | {"nonlinear_part": (("target", "amplitude"), part, {
        "long_name": "root mean square of R+ + R- - 2 R0 over that of R+ - R-", "units": "1"})}


def _costs(cost: Cost, patches: int) -> dict[str, Any]:
    """Return wall time of runs, and of all patches over that of the adjoint of one target."""
    adjoint, forward = float(np.median(cost.adjoint)), float(np.median(cost.forward))
    return {
        "adjoint_seconds": ((), adjoint, {
            "long_name": "wall time of one adjoint run, that is, of one map", "units": "s"}),
        "forward_seconds": ((), forward, {"long_name": "wall time of one run", "units": "s"}),
        "forward_runs": ((), 2 * patches, {
            "long_name": "runs with warm and cool patches of one amplitude", "units": "1"}),
        "cost_ratio": ((), 2 * patches * forward / adjoint, {
            "long_name": "wall time of these runs over that of the adjoint", "units": "1"}),
    }  # fmt: skip


def _coordinates(
    model: Model, targets: Sequence[Any], units: np.ndarray, sizes: np.ndarray, patches: Any
) -> dict[Hashable, Any]:
    words = [getattr(x, "description", f"target {i}") for i, x in enumerate(targets)]
    return {
        "target": words,
        "target_units": ("target", [str(x) for x in units]),
        "amplitude": ("amplitude", sizes, {"long_name": "height of the patch", "units": "K"}),
        "patch_latitude": ("patch", patches.latitude, {"units": "degrees_north"}),
        "patch_longitude": ("patch", patches.longitude, {"units": "degrees_east"}),
    } | horizontal_coordinates(model.grid)  # fmt: skip
