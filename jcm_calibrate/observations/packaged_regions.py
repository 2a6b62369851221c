"""Packaged means over latitude bands: top-of-atmosphere fluxes of CERES, evaporation, cloud.

The file counts fluxes as positive downward and has evaporation as negative numbers; what the model
counts upward is turned round here, and said so in the facts of the block.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jcm.data import data_path
from jcm.model import Model
from jcm_calibrate.observations.operators import make_operator
from jcm_calibrate.observations.periods import Periods
from jcm_calibrate.observations.units import conversion
from jcm_calibrate.observations.vector import Facts, Observation, observation
from jcm_sensitivity.regions import GLOBE, box

#: Bands and what the file calls them.
BANDS = {
    "globe": "Global", "north": "North Midlat", "tropics": "Tropical", "south": "South Midlat",
    "arctic": "North Pole", "antarctic": "South Pole",
}  # fmt: skip
#: Bands that share no area and cover the globe.
DISJOINT = ("north", "tropics", "south")
FILE = "regional_means.json"


class Regional(NamedTuple):
    """A variable of the file."""

    variable: str | Mapping[str, float]
    name: str
    #: Direction in which the file counts, empty where there is none.
    positive: str
    #: Structural error over the globe and over a band, in the units of the file.
    globe: float
    band: float


_NET = {"precipitation_flux": 1.0, "water_evapotranspiration_flux": -1.0}
#: Blocks by name; structural errors as suggested in `jcm/data/README.md`, chosen there.
REGIONAL: dict[str, Regional] = {
    "toa_net_flux": Regional("toa_net_downward_radiative_flux", "net_toa", "down", 3, 5),
    "absorbed_sunlight": Regional("toa_net_downward_shortwave_flux", "rsnt", "down", 3, 5),
    "outgoing_longwave": Regional("toa_outgoing_longwave_flux", "rlnt", "down", 3, 5),
    "cloud_cover": Regional("cloud_area_fraction", "clt", "", 0.05, 0.05),
    "evaporation": Regional("water_evapotranspiration_flux", "evspsbl", "down", 0.15, 0.15),
    "precipitation_less_evaporation": Regional(_NET, "pme", "down", 0.15, 0.15),
}
#: Global means of fluxes at the surface; the error of Wild (2020) is 3 to 5 W m-2, as used here.
SURFACE_FLUXES: dict[str, Regional] = {
    "surface_net_sunlight": Regional(
        "surface_net_downward_shortwave_flux", "rsns", "down", 5, 5),
    "surface_net_longwave": Regional("surface_net_downward_longwave_flux", "rlns", "down", 5, 5),
    "sensible_heat_flux": Regional("surface_upward_sensible_heat_flux", "hfss", "down", 5, 5),
    "latent_heat_flux": Regional("surface_upward_latent_heat_flux", "hfls", "down", 5, 5),
}


def regional_block(
    model: Model, name: str, labels: Sequence[str], periods: Periods,
    bands: Sequence[str] | None,
) -> Observation:  # fmt: skip
    """Return a block of means over latitude bands, or of a global flux at the surface.

    Parameters
    ----------
    model, name
        Model, and name in `REGIONAL` or `SURFACE_FLUXES`.
    labels, periods
        Seasons of the data, or `all`, and the periods of the run.
    bands
        Names in `BANDS`; default those that share no area.

    Raises
    ------
    ValueError
        If a band or season is not in the file.
    """
    content = json.loads(data_path(FILE).read_text())
    if name in SURFACE_FLUXES:
        return _surface_flux(model, name, labels, periods, content)
    entry = REGIONAL[name]
    known = content["variables"][entry.name]
    wanted = list(DISJOINT if bands is None else bands)
    for band in wanted:
        if band not in BANDS:
            raise ValueError(f"unknown band {band!r}; available: {', '.join(BANDS)}")
    records = ["ALL" if label in ("all", "ANN") else label for label in labels]
    for record in records:
        if record not in known["values"]:
            raise ValueError(
                f"{name} is known for DJF, MAM, JJA, SON and the year, not for {record}")
    edges = [content["regions_latitude"][BANDS[band]] for band in wanted]
    where = [GLOBE if band == "globe" else box(edge[0], edge[1], 0, 360, name=band)
             for band, edge in zip(wanted, edges, strict=True)]  # fmt: skip
    operator = make_operator(model, entry.variable, "regional_mean", regions=where)
    table = np.array([
        [[known["values"][record][BANDS[band]][key] for key in ("mean", "std")]
         for band in wanted] for record in records])
    structural = np.array([entry.globe if band == "globe" else entry.band for band in wanted])
    facts = Facts(
        f"{_dataset(known)} ({entry.name})", "-".join(map(str, known["years"])), content["license"])
    how = f"spread of years and {entry.globe:g}/{entry.band:g} {known['units']} structural"
    return _converted(
        name, entry, operator, periods, table[..., 0], np.hypot(table[..., 1], structural),
        known["units"], facts._replace(error=how))


def _dataset(known: Mapping[str, Any]) -> str:
    """Return the name of a data set and its version."""
    name = known["dataset"].replace("EBAF_v", "CERES EBAF ")
    version = known["version"] or ""
    return name if version in name else f"{name} {version}"


def _surface_flux(
    model: Model, name: str, labels: Sequence[str], periods: Periods, content: dict[str, Any]
) -> Observation:
    """Return a block of one number."""
    if any(label not in ("all", "ANN") for label in labels):
        raise ValueError(
            f"{name} is known for the year, not for {', '.join(labels)}; use periods='mean'")
    entry = SURFACE_FLUXES[name]
    known = content["global_surface_fluxes"][entry.name]
    facts = Facts(f"{known['dataset']} ({entry.name})", "", content["license"], error="chosen here")
    operator = make_operator(model, entry.variable, "global_mean")
    values = np.full((len(labels), 1), float(known["value"]))
    return _converted(
        name, entry, operator, periods, values, np.full_like(values, entry.globe), known["units"],
        facts)


def _converted(
    name: str, entry: Regional, operator: Any, periods: Periods, values: np.ndarray,
    spread: np.ndarray, units: str, facts: Facts,
) -> Observation:  # fmt: skip
    """Return the block in the units and with the sign of the model."""
    factor, offset = conversion(units, operator.units, name)
    turned = bool(entry.positive) and entry.positive != operator.positive
    sign = -1.0 if turned else 1.0
    text = [units] if units != operator.units else []
    text += [f"positive {entry.positive}"] if turned else []
    return observation(
        name, operator, sign * (values * factor + offset), spread * abs(factor), periods=periods,
        facts=facts._replace(converted_from=", ".join(text)))
