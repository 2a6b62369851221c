"""Monthly climatology of a run in the names, units and signs of the reference climatology."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

from jcm.constants import DAY

#: Gravity of the reference [m s-2].
GRAVITY = 9.81


class Field(NamedTuple):
    """Where a field of the reference comes from: our variable times a factor."""

    variable: str
    factor: float
    units: str


#: Name in the reference -> our variable, factor to its units and sign. The reference counts the
#: stress that acts on the air, and the net longwave flux at the surface as positive upward.
FIELDS: dict[str, Field] = {
    "u": Field("eastward_wind", 1, "m s-1"),
    "v": Field("northward_wind", 1, "m s-1"),
    "t": Field("air_temperature", 1, "K"),
    "q": Field("specific_humidity", 1e3, "g kg-1"),
    "phi": Field("geopotential_height", GRAVITY, "m2 s-2"),
    "rh": Field("relative_humidity", 1, "1"),
    "ps": Field("surface_air_pressure", 0.01, "hPa"),
    "prec": Field("precipitation_flux", DAY, "mm day-1"),
    "precnv": Field("convective_precipitation_flux", DAY, "mm day-1"),
    "precls": Field("large_scale_precipitation_flux", DAY, "mm day-1"),
    "evap": Field("water_evapotranspiration_flux", DAY, "mm day-1"),
    "cbmf": Field("cloud_base_mass_flux", 1, "kg m-2 s-1"),
    "cnvfreq": Field("deep_convection_frequency", 1, "1"),
    "cloudc": Field("cloud_area_fraction", 1, "1"),
    "clstr": Field("stratiform_cloud_area_fraction", 1, "1"),
    "tsr": Field("toa_net_downward_shortwave_flux", 1, "W m-2"),
    "olr": Field("toa_outgoing_longwave_flux", 1, "W m-2"),
    "ssrd": Field("surface_downwelling_shortwave_flux_in_air", 1, "W m-2"),
    "ssr": Field("surface_net_downward_shortwave_flux", 1, "W m-2"),
    "slrd": Field("surface_downwelling_longwave_flux_absorbed", 1, "W m-2"),
    "slr": Field("surface_net_downward_longwave_flux", -1, "W m-2"),
    "shf": Field("surface_upward_sensible_heat_flux", 1, "W m-2"),
    "ustr": Field("surface_downward_eastward_stress", -1, "N m-2"),
    "vstr": Field("surface_downward_northward_stress", -1, "N m-2"),
    "t0": Field("near_surface_air_temperature", 1, "K"),
    "u0": Field("near_surface_eastward_wind", 1, "m s-1"),
    "v0": Field("near_surface_northward_wind", 1, "m s-1"),
    "tskin": Field("surface_temperature", 1, "K"),
    "albsfc": Field("surface_albedo", 1, "1"),
}
LAYERED = ("u", "v", "t", "q", "phi", "rh")
#: Suffix of the annual means of the single years.
BY_YEAR = "_year"


def climatology(paths: Sequence[Path]) -> xr.Dataset:
    """Return means of each calendar month over the years, and of each year.

    Parameters
    ----------
    paths
        Files of whole years, January first.

    Returns
    -------
    dataset
        `X` (month, level, lat, lon) or (month, lat, lon), and `X_year`, with years in place of
        months. A year is the plain mean of its twelve months, as in the reference.

    Raises
    ------
    ValueError
        If the files are not whole years.
    """
    if not paths or len(paths) % 12:
        raise ValueError(f"expected the files of whole years, 12 each; got {len(paths)} files")
    years = len(paths) // 12
    monthly: dict[str, np.ndarray] = {}
    annual: dict[str, np.ndarray] = {}
    for index, path in enumerate(paths):
        year, month = divmod(index, 12)
        with xr.open_dataset(path, decode_times=False) as dataset:
            for name, field in FIELDS.items():
                values = dataset[field.variable].values[0] * np.float64(field.factor)
                if index == 0:
                    monthly[name] = np.zeros((12, *values.shape))
                    annual[name] = np.zeros((years, *values.shape))
                monthly[name][month] += values / years
                annual[name][year] += values / 12
    with xr.open_dataset(paths[0], decode_times=False) as first:
        edges = first["level_bnds"].values
        coordinates = {name: first[name].values for name in ("level", "lat", "lon")}
    variables = {}
    for name, field in FIELDS.items():
        dims = ("level", "lat", "lon") if name in LAYERED else ("lat", "lon")
        attributes = {"units": field.units, "long_name": field.variable.replace("_", " ")}
        variables[name] = (("month", *dims), monthly[name], attributes)
        variables[name + BY_YEAR] = (("year", *dims), annual[name], attributes)
    _, weight = np.polynomial.legendre.leggauss(len(coordinates["lat"]))
    variables["area_weight"] = (("lat",), weight / 2)
    variables["dsigma"] = (("level",), np.diff(edges, axis=1)[:, 0])
    coordinates["month"] = np.arange(1, 13)
    return xr.Dataset(variables, coordinates, {"years": years})
