"""Observations from files: CF netCDF and Zarr of reanalyses and satellites.

Fields are moved to the grid of the model conservatively (xarray-regrid), then reduced by the same
operator as the fields of a run, so that both have the same weights.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jcm.calendar import DAYS_IN_MONTH
from jcm.model import Model
from jcm_calibrate.observations.file_data import (
    Data,
    Reader,
    Source,
    in_window,
    open_reader,
    read_data,
)
from jcm_calibrate.observations.operators import Operator, make_operator
from jcm_calibrate.observations.periods import MONTHS, SEASONS, Periods, make_periods
from jcm_calibrate.observations.places import cells
from jcm_calibrate.observations.quantities import quantity as find_quantity
from jcm_calibrate.observations.vector import Observation, Observations, observation
from jcm_sensitivity.masks import grid_mask

#: Years of which at least so many are needed for a spread between them.
FEWEST_YEARS = 3


def load_observations(
    source: Source,
    model: Model,
    specification: Mapping[str, Mapping[str, Any]],
    *,
    units: Mapping[str, str] | None = None,
    positive: Mapping[str, str] | None = None,
    select: Mapping[str, Any] | None = None,
    window: tuple[str, str] | None = None,
    start: str | Sequence[str] | None = None,
    every: float = 1.0,
    count: int | None = None,
    inputs: Any = None,
) -> Observations:
    """Return observations from a file.

    Parameters
    ----------
    source
        A netCDF file, a Zarr store or a dataset, on a rectilinear latitude-longitude grid.
    model
        Model they will be compared with.
    specification
        Name of a block -> `variable`, `operator` and the other arguments of `make_operator`, and

        - `error`: standard deviation in the units of the model; `{"absolute": a, "relative": r}`
          for a + r |value|; `"interannual"` for the spread of the years of the file, or
          `{"interannual": floor}`;
        - `periods`: `mean` (default), `months` or `seasons`, with `chosen` ones;
        - `from_file`: name of the variable in the file; default the usual ones, `FILE_NAMES`.
    units, positive
        Name of a variable in the file -> its units, or the direction it counts in (`up`, `down`),
        where the file does not say so or is wrong.
    select
        Dimension -> number of the one wanted, e.g. `{"number": 0}` for the first member.
    window
        First and last month that count, YYYY-MM, default all.
    start, every, count
        First day of the run, or of its windows, days between outputs and number of outputs, for
        periods other than the mean.
    inputs
        Inputs that tell where land is, for the masks `land` and `sea`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a variable is not in the file, units or signs disagree, numbers are not plausible,
        months are missing, the window is beyond the data, or nothing is left.
    """
    reader = open_reader(source, units, positive, select)
    run = {"start": start, "every": every, "count": count}
    return Observations([
        _block(reader, model, name, dict(given), window, run, inputs)
        for name, given in specification.items()])  # fmt: skip


def _block(
    reader: Reader, model: Model, name: str, given: dict[str, Any],
    window: tuple[str, str] | None, run: dict[str, Any], inputs: Any,
) -> Observation:  # fmt: skip
    """Return one block of the vector."""
    if "error" not in given:
        raise ValueError(
            f"{name}: give the standard deviation of the error: error=..., in the units of the "
            "model, {'absolute': ..., 'relative': ...} or 'interannual'")
    error, kind = given.pop("error"), given.pop("periods", "mean")
    chosen, from_file = given.pop("chosen", None), given.pop("from_file", None)
    if given.get("statistic", "mean") != "mean" or kind == "each":
        raise ValueError(
            f"{name}: a file of fields gives means over months, seasons or all records; compute "
            "variances and eddy fluxes first, and give them with observation(...)")
    vertical = {key: given.get(key) for key in ("level", "levels", "pressure")}
    wanted = find_quantity(model, given["variable"], **vertical)
    data = in_window(read_data(reader, model, wanted, given["variable"], from_file), window)
    periods = make_periods(kind, chosen=chosen, **(run if kind != "mean" else {}))
    known = np.asarray(np.isfinite(data.values).all(axis=(0, 1)))
    if not known.any():
        raise ValueError(
            f"{name}: all numbers of {data.label} are missing somewhere in the window; nothing is "
            "left to compare")
    operator = _made(model, given, known, inputs, name)
    found = means_of(data, operator, periods.labels)
    spread, how = _spread(error, data, operator, periods, found)
    return observation(
        name, operator, found, spread, periods=periods, facts=data.facts._replace(error=how))


def _made(
    model: Model, given: dict[str, Any], known: np.ndarray, inputs: Any, name: str
) -> Operator:
    """Return the operator over the cells where data are known."""
    if known.all():
        return make_operator(model, inputs=inputs, **given)
    if given.get("operator") == "stations":
        raise ValueError(f"{name}: data with missing values cannot be interpolated to stations")
    there = grid_mask(known, name="where data are known")
    mask = given.get("mask")
    if mask is not None:
        from_mask = cells(model.grid, mask=mask, inputs=inputs)
        both = np.zeros(model.grid.shape)
        both[np.asarray(from_mask.column), np.asarray(from_mask.row)] = 1
        if not (both * known).any():
            raise ValueError(
                f"{name}: the region is empty: no cell of the mask has data; choose another mask")
        there = grid_mask(both * known, name="mask, where data are known")
    return make_operator(model, **{**given, "mask": there}, inputs=inputs)


def means_of(data: Data, operator: Operator, names: Sequence[str]) -> np.ndarray:
    """Return the operator on the means of the data over periods; (period, number).

    Parameters
    ----------
    data, operator
        Fields on the grid of the model, and the operator for the runs.
    names
        Months, seasons, or `all` for the mean over all records.

    Raises
    ------
    ValueError
        If the data lack a period.
    """
    numbers = _reduced(data, operator)
    return np.concatenate([_one_period(data, numbers, name) for name in names])


def _reduced(data: Data, operator: Operator) -> np.ndarray:
    """Return the operator's places of each record; (record, number).

    Cells without data have no weight: the mask of the operator leaves them out.
    """
    filled = np.where(np.isfinite(data.values), data.values, 0.0)
    return np.asarray(operator.places(jnp.asarray(filled))).reshape(len(filled), -1)


def _weighted(numbers: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return np.tensordot(weight / weight.sum(), numbers, axes=1)[None]


def _one_period(data: Data, numbers: np.ndarray, name: str) -> np.ndarray:
    """Return the mean over a month, a season or all records; (1, number)."""
    if name == "all":
        if data.seasons is not None and "ANN" in data.seasons:
            return numbers[[data.seasons.index("ANN")]]
        days = np.ones(len(numbers)) if data.months is None else np.take(
            DAYS_IN_MONTH, data.months % 12).astype(float)
        return _weighted(numbers, days)
    if data.seasons is not None:
        if name not in data.seasons:
            raise ValueError(
                f"{data.label} has no {name}; it has: {', '.join(data.seasons)}")
        return numbers[[data.seasons.index(name)]]
    if data.months is None:
        raise ValueError(
            f"{data.label} has no readable dates, so its months are unknown; give a coordinate "
            "time with units, or month with numbers 1 to 12, or use periods='mean'")
    months = [MONTHS.index(name)] if name in MONTHS else [m - 1 for m in SEASONS[name]]
    calendar = data.months % 12
    missing = [MONTHS[m] for m in months if m not in calendar]
    if missing:
        there = ", ".join(MONTHS[m] for m in sorted(set(calendar.tolist())))
        raise ValueError(
            f"months are missing: {name} needs {', '.join(missing)}, {data.label} has {there}; "
            "choose other periods with chosen=[...], or another file")
    means = np.stack([numbers[calendar == m].mean(axis=0) for m in months])
    return _weighted(means, np.array([DAYS_IN_MONTH[m] for m in months], float))


def _spread(
    error: Any, data: Data, operator: Operator, periods: Periods, found: np.ndarray
) -> tuple[np.ndarray, str]:
    """Return standard deviations like the values, and how they were found."""
    if error == "interannual" or (isinstance(error, Mapping) and "interannual" in error):
        floor = error["interannual"] if isinstance(error, Mapping) else 0.0
        spread, years = _interannual(data, operator, periods)
        text = f"spread of {years} years" + (f", at least {floor:g}" if floor else "")
        return np.maximum(spread, floor), text
    if isinstance(error, Mapping):
        unknown = [key for key in error if key not in ("absolute", "relative")]
        if unknown or not error:
            raise ValueError(
                f"an error is a number, 'interannual', or has absolute and relative; got {error}")
        absolute, relative = error.get("absolute", 0.0), error.get("relative", 0.0)
        return absolute + relative * np.abs(found), f"{absolute:g} + {relative:g} x |value|"
    return np.broadcast_to(np.asarray(error, float), found.shape), "given"


def _interannual(
    data: Data, operator: Operator, periods: Periods
) -> tuple[np.ndarray, int]:
    """Return the standard deviation of single years of each period, and how many years."""
    years = [] if data.months is None else sorted(set((data.months // 12).tolist()))
    if len(years) < FEWEST_YEARS:
        raise ValueError(
            f"a spread between years needs {FEWEST_YEARS} years of months; {data.label} has "
            f"{len(years)}. Give the error as a number")
    assert data.months is not None
    found = []
    for year in years:
        # December belongs to the winter of the year after only where seasons cross it; a spread
        # does not need it, so a year is a calendar year here.
        inside = data.months // 12 == year
        part = data._replace(values=data.values[inside], months=data.months[inside])
        if len(set((data.months[inside] % 12).tolist())) == 12:
            found.append(means_of(part, operator, periods.labels))
    if len(found) < FEWEST_YEARS:
        raise ValueError(f"a spread between years needs {FEWEST_YEARS} whole years; {data.label} "
                         f"has {len(found)}")
    return np.std(found, axis=0, ddof=1), len(found)
