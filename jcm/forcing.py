"""Boundary conditions of the atmosphere: packaged, read from files, SPEEDY's own, idealised.

A `Forcing` holds what the model is told and does not compute: the shape of the Earth's surface and
the monthly climatologies of sea, ice and land of Molteni, F. (2003), Clim. Dyn., 20, 175-191. It is
an input of a run: each field can be changed, differentiated or inferred.
"""

import logging
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jcm.calendar import parse_date
from jcm.forcing_files import (
    ANOMALY,
    SOIL_LAYERS,
    Source,
    complete_fields,
    packaged_fields,
    read_anomaly,
    read_fields,
)
from jcm.gridded import read_field
from jcm.speedy_data import speedy_data_path

logger = logging.getLogger(__name__)

#: First record of SPEEDY's anomalies, January 1979, as 12 year + month - 1.
SPEEDY_FIRST_MONTH = 12 * 1979
#: Field -> file and variable of SPEEDY's boundary data; orography is in m.
SPEEDY_VARIABLES = {
    "surface_geopotential": ("surface.nc", "orog"),
    "land_fraction": ("surface.nc", "lsm"),
    "bare_albedo": ("surface.nc", "alb"),
    "sea_surface_temperature": ("sea_surface_temperature.nc", "sst"),
    "sea_ice_fraction": ("sea_ice.nc", "icec"),
    "soil_temperature": ("land.nc", "stl"),
    "snow_depth": ("snow.nc", "snowd"),
    "soil_layers.upper": ("soil.nc", "swl1"),
    "soil_layers.lower": ("soil.nc", "swl2"),
    "soil_layers.high_vegetation": ("surface.nc", "vegh"),
    "soil_layers.low_vegetation": ("surface.nc", "vegl"),
    "sea_surface_temperature_anomaly": ("sea_surface_temperature_anomaly.nc", "ssta"),
}
SPEEDY_LABELS = {name: f"{variable!r} of {file} ({name})"
                 for name, (file, variable) in SPEEDY_VARIABLES.items()}  # fmt: skip
#: 0 degC [K].
ZERO_CELSIUS = 273.15


class SoilLayers(eqx.Module):
    """Soil water from which the model computes its availability to evaporation."""

    #: Water in the upper layer [m3 m-3], volume_fraction_of_condensed_water_in_soil.
    upper: Float[Array, "12 lon lat"]
    #: Water in the lower layer [m3 m-3], volume_fraction_of_condensed_water_in_soil.
    lower: Float[Array, "12 lon lat"]
    #: Cover of high vegetation [1], vegetation_area_fraction.
    high_vegetation: Float[Array, "lon lat"]
    #: Cover of low vegetation [1], vegetation_area_fraction.
    low_vegetation: Float[Array, "lon lat"]


class Forcing(eqx.Module):
    """Boundary conditions on the model grid, and the date at which a run starts."""

    #: Geopotential of the surface, not filtered [m2 s-2], geopotential.
    surface_geopotential: Float[Array, "lon lat"]
    #: Land fraction [1], land_area_fraction.
    land_fraction: Float[Array, "lon lat"]
    #: Albedo of land without snow [1], surface_albedo.
    bare_albedo: Float[Array, "lon lat"]
    #: Temperature of the sea, of its ice where it freezes [K], sea_surface_temperature.
    sea_surface_temperature: Float[Array, "12 lon lat"]
    #: Part of the sea under ice [1], sea_ice_area_fraction.
    sea_ice_fraction: Float[Array, "12 lon lat"]
    #: Temperature of the soil [K], soil_temperature.
    soil_temperature: Float[Array, "12 lon lat"]
    #: Water in the snow on land [kg m-2], surface_snow_amount.
    snow_depth: Float[Array, "12 lon lat"]
    #: Availability of soil water to evaporation [1]; None if `soil_layers` is given.
    soil_water_availability: Float[Array, "12 lon lat"] | None
    #: Soil water by layer; None if `soil_water_availability` is given.
    soil_layers: SoilLayers | None
    #: Departure of the sea surface temperature from its climatology [K], month by month.
    sea_surface_temperature_anomaly: Float[Array, "record lon lat"] | None
    #: Month of the first anomaly, 12 year + month - 1; 0 without anomalies.
    anomaly_first_month: Int[Array, ""]
    #: First day of a run, days since 1970-01-01.
    start_day: Int[Array, ""]

    def __check_init__(self) -> None:
        """Check that soil water is given once."""
        if (self.soil_water_availability is None) == (self.soil_layers is None):
            raise ValueError(
                "expected either soil_water_availability or soil_layers, got "
                f"{'none' if self.soil_layers is None else 'both'}"
            )


def packaged_forcing(
    grid: Any, *, start: str = "2000-01-01", gravity: float, dtype: DTypeLike | None = None
) -> Forcing:
    """Return the climatology that comes with the package.

    Parameters
    ----------
    grid
        T21, T30, T31, T42 and T63 have their own file; another grid coarser than T63 gets the next
        finer file, regridded conservatively.
    start
        First day of a run, YYYY-MM-DD.
    gravity
        Acceleration of gravity, which turns orography into geopotential [m s-2].
    dtype
        Type of the fields; default the working precision of JAX.

    Raises
    ------
    ValueError
        If the grid is finer than T63.
    """
    fields = complete_fields(packaged_fields(grid, gravity), grid, {}, [])
    return _assemble(fields, start=start, dtype=dtype)


def read_forcing(
    paths: Source | Mapping[str, Source],
    grid: Any,
    *,
    start: str,
    gravity: float,
    names: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    anomaly: Source | None = None,
    anomaly_start: str | None = None,
    dtype: DTypeLike | None = None,
    notes: list[str] | None = None,
) -> Forcing:
    """Return boundary conditions from CF netCDF files or Zarr stores.

    Each file has a rectilinear latitude-longitude grid in any order and monthly means of one year.
    A variable is recognised by its CF standard name, then by its name (`FORCING_UNITS`); `ts_sea`
    is taken before `tos`, because the model wants the temperature of the ice where the sea freezes.
    Fields are regridded conservatively, weighted with the land or sea fraction of the file if it
    has one; gaps at the coast are filled from the cells beside them. Fields that no file has come
    from the package.

    Parameters
    ----------
    paths
        One file or dataset with all fields, or one per field: `{"orog": ..., "tos": ...}`.
    grid
        The model grid.
    start
        First day of a run, YYYY-MM-DD.
    gravity
        Acceleration of gravity, which turns orography into geopotential [m s-2].
    names
        Variable in the file, by field, where it is not recognised.
    units
        Units, by field, where the attribute is missing or wrong.
    anomaly
        File with monthly anomalies of sea surface temperature, any number of months.
    anomaly_start
        First month of the anomalies, YYYY-MM, where the file's time axis does not tell.
    dtype
        Type of the fields; default the working precision of JAX.
    notes
        List to which a line is added for everything that was decided here: fields that come from
        the package, cells that were filled. Without it the lines are logged as warnings.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    ValueError
        If data are missing, out of range, in unknown units or of the wrong form.
    """
    said: list[str] = []
    fields, first = read_fields(paths, grid, gravity, names, units, said), 0
    if anomaly is not None:
        land = fields["land_fraction"]
        fields[ANOMALY], first = read_anomaly(
            anomaly, grid, land, names, units, anomaly_start, said
        )
    if notes is None:
        for line in said:
            logger.warning(line)
    else:
        notes.extend(said)
    return _assemble(fields, first_month=first, start=start, dtype=dtype)


def speedy_forcing(
    grid: Any, *, start: str = "1982-01-01", gravity: float, dtype: DTypeLike | None = None
) -> Forcing:
    """Return SPEEDY's own boundary conditions, with its anomalies of 1979 to 2013.

    The files come from `jcm data speedy`. Arguments are those of `packaged_forcing`.

    Raises
    ------
    FileNotFoundError
        If the files have not been fetched.
    ValueError
        If the grid is not of 96 x 48 points, or a value is missing where it is needed.
    """
    if (grid.nlon, grid.nlat) != (96, 48):
        raise ValueError(
            f"SPEEDY's boundary data have 96 x 48 points, grid {grid.name} {grid.nlon} x "
            f"{grid.nlat}; use T30 or T31, or packaged_forcing for another grid"
        )
    fields = {}
    for name, (file, variable) in SPEEDY_VARIABLES.items():
        with xr.open_dataset(speedy_data_path(file), decode_times=False) as dataset:
            fields[name] = read_field(dataset, variable, file).values
    fields["surface_geopotential"] = gravity * fields["surface_geopotential"]
    fields = complete_fields(fields, grid, SPEEDY_LABELS, [])
    return _assemble(fields, first_month=SPEEDY_FIRST_MONTH, start=start, dtype=dtype)


def aquaplanet_forcing(
    grid: Any, *, start: str = "2000-01-01", gravity: float, dtype: DTypeLike | None = None
) -> Forcing:
    """Return a planet of water, zonally symmetric, without ice and without seasons at the surface.

    Sea surface temperature is the profile "control" of Neale, R. B. and Hoskins, B. J. (2000): A
    standard test for AGCMs including their physical parametrizations. I: The proposal. Atmos. Sci.
    Lett., 1, 101-107: 27 (1 - sin^2(3 latitude / 2)) degC within 60 degrees, 0 degC beyond.
    Arguments are those of `packaged_forcing`.
    """
    profile = 27 * (1 - np.sin(1.5 * np.deg2rad(grid.latitude)) ** 2)
    celsius = np.where(np.abs(grid.latitude) < 60, profile, 0.0)
    fields = _water_planet(grid, ZERO_CELSIUS + celsius, gravity)
    return _assemble(fields, start=start, dtype=dtype)


def uniform_forcing(
    grid: Any,
    sea_surface_temperature: float = 300.0,
    *,
    start: str = "2000-01-01",
    gravity: float,
    dtype: DTypeLike | None = None,
) -> Forcing:
    """Return a planet of water with one temperature [K]; see `aquaplanet_forcing`."""
    temperature = np.full(grid.nlat, sea_surface_temperature)
    return _assemble(_water_planet(grid, temperature, gravity), start=start, dtype=dtype)


def _water_planet(grid: Any, temperature: np.ndarray, gravity: float) -> dict[str, np.ndarray]:
    """Return the fields of a planet without land; temperature [K] by latitude."""
    flat = np.zeros((grid.nlat, grid.nlon))
    months = np.zeros((12, 1, 1))
    unknown = np.full((12, grid.nlat, grid.nlon), np.nan)  # takes the default of each field
    fields = {
        "surface_geopotential": gravity * flat,
        "land_fraction": flat,
        "bare_albedo": unknown[0],
        "sea_surface_temperature": months + (flat + temperature[:, None]),
        "sea_ice_fraction": months + flat,
        "soil_temperature": unknown,
        "snow_depth": unknown,
        "soil_water_availability": unknown,
    }
    return complete_fields(fields, grid, {}, [])


def _assemble(
    fields: Mapping[str, np.ndarray],
    *,
    first_month: int = 0,
    start: str,
    dtype: DTypeLike | None,
) -> Forcing:
    """Make the input of a run from complete fields in the order of files."""
    arrays = {
        name: jnp.asarray(np.swapaxes(values, -1, -2), dtype=float if dtype is None else dtype)
        for name, values in fields.items()
    }
    layers = {name.split(".")[1]: arrays.pop(name) for name in SOIL_LAYERS if name in arrays}
    optional: dict[str, Any] = {"soil_water_availability": None, ANOMALY: None}
    return Forcing(
        **optional | arrays,
        soil_layers=SoilLayers(**layers) if layers else None,
        anomaly_first_month=jnp.asarray(first_month, dtype=jnp.int32),
        start_day=jnp.asarray(parse_date(start), dtype=jnp.int32),
    )
