"""Observations that come with the model: ERA5, CERES, NCEP and ORAS5 climatologies.

Each is a block with the operator, the error and the attribution that belong to it. Standard
deviations follow the table of suggested errors in `jcm/data/README.md`: interannual spread with a
floor, or the spread between products, and for CERES a structural error besides, because a model of
eight layers does no better than a few W m-2. They are chosen here.

Not here: clear-sky fluxes and cloud radiative effects of CERES, because the model has no clear-sky
radiation; winds and temperatures of ships south of 40S, because products differ by 3 m s-1.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jcm.data import data_names, data_path
from jcm.forcing_files import packaged_fields
from jcm.model import Model
from jcm_calibrate.observations.file_data import Data, open_reader, read_data
from jcm_calibrate.observations.operators import make_operator
from jcm_calibrate.observations.packaged_regions import REGIONAL, SURFACE_FLUXES, regional_block
from jcm_calibrate.observations.periods import MONTHS, SEASONS, Periods, make_periods
from jcm_calibrate.observations.quantities import HECTO, LAPSE_RATE, quantity
from jcm_calibrate.observations.readers import means_of
from jcm_calibrate.observations.vector import Facts, Observation, Observations, observation
from jcm_sensitivity.hints import hint
from jcm_sensitivity.masks import grid_mask

#: A row counts on a pressure level if this share of it is above the ground.
ABOVE_GROUND = 0.5
#: Pressure and temperature at sea level of the standard atmosphere, ISO 2533 (1975) [Pa, K].
SEA_LEVEL = (101325.0, 288.15)
#: Pressures of the sections [hPa].
SECTION = (925.0, 850.0, 700.0, 600.0, 500.0, 400.0, 300.0, 250.0, 200.0, 150.0, 100.0)
ATTRIBUTION = {
    "ERA5": "Contains modified Copernicus Climate Change Service information (ERA5, ORAS5). "
            "Neither the European Commission nor ECMWF is responsible for any use of it. ERA5: "
            "Hersbach et al. (2020), doi:10.1002/qj.3803.",
    "NCEP": "NCEP/NCAR Reanalysis data provided by the NOAA PSL, Boulder, Colorado, USA, "
            "https://psl.noaa.gov.",
    "CERES": "CERES EBAF 4.2.1: NASA Langley (Loeb et al. 2018, doi:10.1175/JCLI-D-17-0208.1), "
             "compiled by ecmean (Davini and von Hardenberg, Apache-2.0).",
    "Wild": "Surface fluxes: Wild (2020).",
}  # fmt: skip


class Packaged(NamedTuple):
    """A packaged field."""

    variable: str
    #: Name in the file, and the file up to the name of the grid.
    name: str
    file: str
    #: Smallest standard deviation, and that as a part of the value [units of the model].
    floor: float
    relative: float = 0.0
    #: Standard deviation over land, if another than `floor`.
    land: float | None = None
    pressure: tuple[float, ...] | None = None
    #: Whether the file has the spread of single years.
    spread: bool = True
    units: str | None = None


_MONTHLY, _SEASONAL = "observations", "observations_seasonal"
_MM = 1 / 86400.0
#: Fields by the name of their block. Errors: `suggested_error` of the files, chosen here where
#: there is none (stress).
PACKAGED: dict[str, Packaged] = {
    "temperature": Packaged(
        "near_surface_air_temperature", "tas", _MONTHLY, 0.5, land=1.0, spread=False),
    "precipitation": Packaged(
        "precipitation_flux", "pr", _MONTHLY, 0.3 * _MM, relative=0.12, spread=False),
    "eastward_wind_200": Packaged(
        "eastward_wind", "ua200", _MONTHLY, 2.5, pressure=(200.0,), spread=False),
    "northward_wind_200": Packaged(
        "northward_wind", "va200", _MONTHLY, 1.0, pressure=(200.0,), spread=False),
    "sea_level_pressure": Packaged("sea_level_pressure", "psl", _SEASONAL, 100.0),
    "eastward_stress": Packaged("surface_downward_eastward_stress", "tauu", _SEASONAL, 0.01),
    "northward_stress": Packaged("surface_downward_northward_stress", "tauv", _SEASONAL, 0.01),
    "eastward_wind": Packaged("eastward_wind", "ua", _SEASONAL, 1.0, pressure=SECTION),
    "northward_wind": Packaged("northward_wind", "va", _SEASONAL, 1.0, pressure=SECTION),
    "air_temperature": Packaged("air_temperature", "ta", _SEASONAL, 0.7, pressure=SECTION),
    "specific_humidity": Packaged(
        "specific_humidity", "hus", _SEASONAL, 1e-7, relative=0.05, pressure=SECTION),
}  # fmt: skip
_SECTIONS = ("eastward_wind", "northward_wind", "air_temperature", "specific_humidity")
#: Groups of blocks.
GROUPS: dict[str, tuple[str, ...]] = {
    "surface": ("temperature", "precipitation"),
    "upper_air": _SECTIONS,
    "circulation": ("sea_level_pressure", "eastward_stress", "northward_stress"),
    "radiation": ("absorbed_sunlight", "outgoing_longwave", "cloud_cover"),
    "water": ("precipitation", "evaporation"),
    "surface_fluxes": tuple(SURFACE_FLUXES),
}
_NO_CLEAR_SKY = ("rsntcs", "rlntcs", "swcf", "lwcf", "clear_sky", "cloud_effect",
                 "cloud_radiative_effect")  # fmt: skip


def packaged_names() -> tuple[str, ...]:
    """Return the names of all packaged blocks."""
    return (*PACKAGED, *REGIONAL, *SURFACE_FLUXES)


def packaged_observations(
    model: Model,
    names: str | Sequence[str],
    *,
    periods: str = "mean",
    chosen: Sequence[str] | None = None,
    operator: str | Mapping[str, Any] = "zonal_mean",
    pressure: Sequence[float] | None = None,
    bands: Sequence[str] | None = None,
    start: str | Sequence[str] | None = None,
    every: float = 1.0,
    count: int | None = None,
    inputs: Any = None,
) -> Observations:
    """Return packaged observations as blocks ready for a likelihood.

    Parameters
    ----------
    model
        Model they will be compared with. At T21 and T31 the files are on its grid, elsewhere
        those of T31 are moved to it.
    names
        Blocks (`packaged_names()`) or groups of them (`GROUPS`).
    periods, chosen
        `seasons` or `months` (of those fields that have them), with the `chosen` ones; or `mean`,
        the mean of a run against the annual mean, or against the one season or month in `chosen`:
        short windows in January have `chosen=["Jan"]`.
    operator
        `zonal_mean`, `global_mean` or `grid` for the fields, or arguments of `make_operator` such
        as `{"operator": "regional_mean", "regions": ["tropics", "amazon"]}`. Sections are zonal
        means and regional means have bands of their own, whatever is asked here.
    pressure
        Pressures of the sections [hPa]; default `SECTION`.
    bands
        Latitude bands of the regional means: `north` (30N-90N), `tropics` (30S-30N), `south`
        (90S-30S), which is the default, `globe`, `arctic` and `antarctic`.
    start, every, count
        First day of the run, days between outputs and their number; for seasons and months.
    inputs
        Inputs that tell where land is, for masks.

    Raises
    ------
    ValueError
        If a name is unknown, a block lacks the period, or a region is empty.
    """
    wanted = _named([names] if isinstance(names, str) else names)
    if periods == "mean":
        run_periods = make_periods("mean")
    else:
        run_periods = make_periods(periods, chosen=chosen, start=start, every=every, count=count)
    labels = _data_periods(periods, chosen, run_periods.labels)
    if periods == "mean":
        run_periods = Periods(None, labels, "mean")
    blocks = []
    for name in wanted:
        if name in REGIONAL or name in SURFACE_FLUXES:
            blocks.append(regional_block(model, name, labels, run_periods, bands))
        elif name in _SECTIONS:
            blocks.append(_section(model, name, labels, run_periods, pressure))
        else:
            blocks.append(_field(model, name, labels, run_periods, operator, inputs))
    return Observations(blocks)


def attribution(observations: Observations) -> str:
    """Return what must be printed where packaged observations are used."""
    sources = " ".join(block.facts.source for block in observations.blocks)
    keys = {"ERA5": ("ERA5", "ORAS5"), "NCEP": ("NCEP",), "CERES": ("CERES",), "Wild": ("Wild",)}
    return "\n".join(
        ATTRIBUTION[key] for key, marks in keys.items() if any(m in sources for m in marks))


def _named(names: Sequence[str]) -> list[str]:
    """Return the names of blocks, groups written out."""
    known, wanted = packaged_names(), []
    for name in names:
        if name in _NO_CLEAR_SKY:
            raise ValueError(
                f"there is no packaged observation {name!r}: the model has no clear-sky radiation "
                "to compare with; take absorbed_sunlight, outgoing_longwave and cloud_cover")
        if name not in known and name not in GROUPS:
            everything = (*known, *GROUPS)
            raise ValueError(
                f"there is no packaged observation {name!r}; {hint(name, everything)}available: "
                f"{', '.join(known)}; groups: {', '.join(GROUPS)}")
        wanted += GROUPS.get(name, (name,))
    return list(dict.fromkeys(wanted))


def _data_periods(
    periods: str, chosen: Sequence[str] | None, labels: tuple[str, ...]
) -> tuple[str, ...]:
    """Return which periods of the data are compared."""
    if periods == "each":
        raise ValueError("packaged observations are climatologies: periods are 'seasons', "
                         "'months' or 'mean'")
    if periods != "mean":
        return labels
    single = ["all"] if chosen is None else list(chosen)
    if len(single) != 1 or single[0] not in ("all", *MONTHS, *SEASONS):
        raise ValueError(
            f"periods='mean' is compared with one month or season, e.g. chosen=['DJF']; got "
            f"{chosen}")
    return tuple(single)


def _file(model: Model, entry: Packaged) -> str:
    """Return the file on the grid of the model, or the one at T31."""
    own = f"{entry.file}_T{'31' if model.grid.nlat == 48 else model.grid.truncation}.nc"
    return own if own in data_names() else f"{entry.file}_T31.nc"


def _field(
    model: Model, name: str, labels: Sequence[str], periods: Any,
    operator: str | Mapping[str, Any], inputs: Any,
) -> Observation:  # fmt: skip
    """Return a block of a field on the grid."""
    entry, file = PACKAGED[name], _file(model, PACKAGED[name])
    reader = open_reader(data_path(file))
    wanted = quantity(model, entry.variable, pressure=entry.pressure)
    flat = quantity(model, entry.variable, level=0) if entry.pressure else wanted
    data = read_data(reader, model, flat, entry.variable, entry.name)
    _check_months(name, entry, labels)
    known = np.asarray(np.isfinite(data.values).all(axis=(0, 1)))
    given: dict[str, Any] = {"operator": operator} if isinstance(operator, str) else dict(operator)
    if not known.all():
        if "mask" in given:
            raise ValueError(f"{name} has its own mask, where data are known; leave mask out")
        given["mask"] = grid_mask(known, name="where data are known")
    made = make_operator(
        model, entry.variable, pressure=entry.pressure, inputs=inputs, **given)
    values = means_of(data, made, labels)
    # The error of a mean is the mean of the errors of its cells, as if they were the same error.
    spread = means_of(data._replace(values=_cell_errors(model, entry, reader, data)), made, labels)
    how = f"spread of years, at least {entry.floor:g}" if entry.spread else "spread of products"
    return observation(
        name, made, values, spread, periods=periods, facts=_with_grid(data.facts, how, file, model))


def _check_months(name: str, entry: Packaged, labels: Sequence[str]) -> None:
    if entry.file == _SEASONAL and any(label in MONTHS for label in labels):
        raise ValueError(
            f"{name} is known for seasons, not for months; use periods='seasons' or leave it out")


def _cell_errors(model: Model, entry: Packaged, reader: Any, data: Data) -> np.ndarray:
    """Return standard deviations cell by cell."""
    floor = np.full(data.values.shape, entry.floor) + entry.relative * np.abs(data.values)
    if entry.land is not None:
        land = packaged_fields(model.grid, model.constants.gravity)["land_fraction"].T
        floor = floor + (entry.land - entry.floor) * land
    if not entry.spread:
        return floor
    flat = quantity(model, entry.variable)
    spread = read_data(
        reader, model, flat, None, f"{entry.name}_std").values
    return np.where(np.isnan(data.values), np.nan, np.maximum(np.nan_to_num(spread), floor))


def _with_grid(facts: Facts, how: str, file: str, model: Model) -> Facts:
    moved = "" if _on_grid(file, model) else f", moved from T31 to {model.grid.name}"
    return facts._replace(source=f"{facts.source}{moved}", error=how)


def _on_grid(file: str, model: Model) -> bool:
    return model.grid.nlat == (48 if file.endswith("_T31.nc") else 32)


def _section(
    model: Model, name: str, labels: Sequence[str], periods: Any,
    pressure: Sequence[float] | None,
) -> Observation:  # fmt: skip
    """Return a block of zonal means on pressures."""
    entry, file = PACKAGED[name], _file(model, PACKAGED[name])
    _check_months(name, entry, labels)
    chosen = tuple(float(x) for x in ((entry.pressure or ()) if pressure is None else pressure))
    made = make_operator(model, entry.variable, "zonal_mean", pressure=chosen)
    dataset = open_reader(data_path(file)).dataset
    seasons = [str(x) for x in dataset["season"].values]
    there = dataset["plev"].values / HECTO
    missing = [f"{p:g}" for p in chosen if np.abs(there - p).min() > 0.5]
    if missing:
        raise ValueError(f"{name} has no level {missing[0]} hPa; it has: "
                         f"{', '.join(f'{x:g}' for x in there)} hPa")
    levels = [int(np.argmin(np.abs(there - p))) for p in chosen]
    records = [seasons.index("ANN" if label == "all" else label) for label in labels]
    latitude = dataset["lat"].values

    def rows(variable: str) -> np.ndarray:
        table = dataset[variable].values.astype(float)[records][:, levels]
        return np.apply_along_axis(
            lambda row: np.interp(model.grid.latitude, latitude, row), -1, table)

    values = np.where(_above_ground(model, chosen), rows(entry.name), np.nan)
    floor = entry.floor + entry.relative * np.abs(values)
    spread = np.maximum(rows(f"{entry.name}_std"), floor)
    flat = (len(records), -1)
    facts = Facts(
        f"{dataset[entry.name].attrs['source']} ({entry.name})",
        dataset[entry.name].attrs["climatology_period"], dataset[entry.name].attrs["license"])
    how = f"spread of years, at least {entry.floor:g}" + (
        f" + {entry.relative:g} x |value|" if entry.relative else "")
    return observation(
        name, made, values.reshape(flat), spread.reshape(flat), periods=periods,
        facts=_with_grid(facts, how, file, model))


def _above_ground(model: Model, pressure: Sequence[float]) -> np.ndarray:
    """Return where half of a row is above the ground at a pressure [hPa]; (pressure, lat)."""
    surface = packaged_fields(model.grid, model.constants.gravity)["surface_geopotential"]
    height = surface / model.constants.gravity
    exponent = model.constants.gravity / (model.constants.gas_constant * LAPSE_RATE)
    ground = SEA_LEVEL[0] * (1 - LAPSE_RATE * height / SEA_LEVEL[1]) ** exponent
    above = ground[None] > np.asarray(pressure)[:, None, None] * HECTO
    return np.asarray(above.mean(axis=-1) >= ABOVE_GROUND)
