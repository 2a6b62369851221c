"""The output variables: names, CF standard names, units.

Eaton, B. and others: NetCDF Climate and Forecast (CF) Metadata Conventions, version 1.11; names
from the CF standard name table, version 93. A variable for which CF has no name, or whose meaning
is not quite that of the CF name, has a long name only.
"""

from typing import Literal, NamedTuple


class Variable(NamedTuple):
    """What is known of an output variable."""

    #: CF standard name, empty where CF has none.
    standard_name: str
    #: What a person reads on a figure.
    long_name: str
    #: Units as CF writes them.
    units: str
    #: On levels, or one value per column.
    dims: Literal["3d", "2d"] = "2d"
    #: Part of the cell that the value stands for, as a CF cell method; empty: the whole cell.
    cell_method: str = ""
    #: Direction in which a flux is counted as positive; empty where there is none.
    positive: Literal["up", "down", ""] = ""


def _near_surface(standard_name: str, quantity: str, units: str) -> Variable:
    return Variable(standard_name, f"{quantity} near the surface, at sigma = 0.99", units)


def _flux(name: str, long_name: str, positive: Literal["up", "down"]) -> Variable:
    return Variable(name, long_name, "W m-2", positive=positive)


#: Output variables by name, in the order in which they are listed and written.
VARIABLES: dict[str, Variable] = {
    "eastward_wind": Variable("eastward_wind", "eastward wind", "m s-1", "3d"),
    "northward_wind": Variable("northward_wind", "northward wind", "m s-1", "3d"),
    "air_temperature": Variable("air_temperature", "air temperature", "K", "3d"),
    "equilibrium_temperature": Variable(
        "", "temperature of radiative equilibrium towards which the air relaxes", "K", "3d"),
    "specific_humidity": Variable(
        "specific_humidity", "specific humidity", "kg kg-1", "3d"),
    "relative_humidity": Variable("relative_humidity", "relative humidity", "1", "3d"),
    "geopotential_height": Variable("geopotential_height", "geopotential height", "m", "3d"),
    "surface_air_pressure": Variable("surface_air_pressure", "air pressure at the surface", "Pa"),
    "precipitation_flux": Variable("precipitation_flux", "precipitation", "kg m-2 s-1"),
    "convective_precipitation_flux": Variable(
        "convective_precipitation_flux", "convective precipitation", "kg m-2 s-1"),
    # CF keeps large_scale_precipitation_flux as an alias.
    "large_scale_precipitation_flux": Variable(
        "stratiform_precipitation_flux", "large-scale precipitation", "kg m-2 s-1"),
    "water_evapotranspiration_flux": Variable(
        "water_evapotranspiration_flux", "evaporation and transpiration", "kg m-2 s-1",
        positive="up"),
    "cloud_base_mass_flux": Variable(
        "", "mass flux of convective updraughts at cloud base", "kg m-2 s-1", positive="up"),
    "deep_convection_frequency": Variable(
        "convection_time_fraction", "fraction of time with deep convection", "1"),
    "cloud_area_fraction": Variable("cloud_area_fraction", "cloud cover", "1"),
    "stratiform_cloud_area_fraction": Variable(
        "stratiform_cloud_area_fraction",
        "cover by stratiform cloud at the top of the boundary layer", "1"),
    "toa_incoming_shortwave_flux": _flux(
        "toa_incoming_shortwave_flux", "incoming sunlight at the top of the atmosphere", "down"),
    "toa_net_downward_shortwave_flux": _flux(
        "toa_net_downward_shortwave_flux",
        "sunlight absorbed by atmosphere and surface together", "down"),
    "toa_outgoing_longwave_flux": _flux(
        "toa_outgoing_longwave_flux", "outgoing longwave radiation", "up"),
    "toa_net_downward_radiative_flux": _flux(
        "net_downward_radiative_flux_at_top_of_atmosphere_model",
        "sunlight absorbed less longwave radiation sent out, at the top of the atmosphere",
        "down"),
    "surface_downwelling_shortwave_flux_in_air": _flux(
        "surface_downwelling_shortwave_flux_in_air", "sunlight reaching the surface", "down"),
    "surface_net_downward_shortwave_flux": _flux(
        "surface_net_downward_shortwave_flux", "sunlight absorbed by the surface", "down"),
    "surface_downwelling_longwave_flux_absorbed": _flux(
        "", "longwave radiation of the atmosphere absorbed by the surface", "down"),
    "surface_net_downward_longwave_flux": _flux(
        "surface_net_downward_longwave_flux", "net longwave radiation at the surface", "down"),
    "surface_upward_sensible_heat_flux": _flux(
        "surface_upward_sensible_heat_flux", "sensible heat flux from the surface", "up"),
    "surface_upward_latent_heat_flux": _flux(
        "surface_upward_latent_heat_flux", "latent heat flux from the surface", "up"),
    "surface_net_downward_heat_flux": _flux(
        "surface_downward_heat_flux_in_air",
        "net radiation at the surface less sensible and latent heat flux", "down"),
    "surface_downward_eastward_stress": Variable(
        "surface_downward_eastward_stress", "eastward stress on the surface", "Pa",
        positive="down"),
    "surface_downward_northward_stress": Variable(
        "surface_downward_northward_stress", "northward stress on the surface", "Pa",
        positive="down"),
    "near_surface_air_temperature": _near_surface("air_temperature", "air temperature", "K"),
    "near_surface_eastward_wind": _near_surface("eastward_wind", "eastward wind", "m s-1"),
    "near_surface_northward_wind": _near_surface("northward_wind", "northward wind", "m s-1"),
    "surface_temperature": Variable("surface_temperature", "temperature of the skin", "K"),
    "land_surface_temperature": Variable(
        "soil_temperature", "temperature of the soil slab", "K",
        cell_method="area: mean where land"),
    "sea_surface_temperature": Variable(
        "sea_surface_temperature",
        "temperature of the sea surface, of its ice where it freezes", "K",
        cell_method="area: mean where sea"),
    "sea_ice_area_fraction": Variable(
        "sea_ice_area_fraction", "part of the sea under ice", "1",
        cell_method="area: mean where sea"),
    "surface_albedo": Variable("surface_albedo", "albedo of the surface", "1"),
}  # fmt: skip
