"""Every scheme of the physics and the surface as a function of one dictionary of arrays.

The arguments are a few dozen columns of the reference code, with all switches exact.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import xarray as xr
from compare_columns import COMMON, LEVELS, WIDTHS, Columns
from jax import Array

from jcm.constants import DAY, EARTH
from jcm.physics.clouds import CloudParameters, clouds
from jcm.physics.condensation import CondensationParameters, condensation
from jcm.physics.convection import ConvectionParameters, convection
from jcm.physics.humidity import (
    humidity_floor,
    relative_humidity,
    saturation_specific_humidity,
)
from jcm.physics.insolation import Insolation, SolarParameters, insolation
from jcm.physics.longwave import (
    LongwaveDown,
    LongwaveOptics,
    LongwaveParameters,
    co2_absorptivity,
    longwave_down,
    longwave_optics,
    longwave_up,
)
from jcm.physics.shortwave import ShortwaveParameters, shortwave
from jcm.physics.surface import SurfaceFluxParameters, orographic_drag_factor, surface_fluxes
from jcm.physics.vertical_diffusion import VerticalDiffusionParameters, vertical_diffusion
from jcm.surface.albedo import AlbedoParameters, surface_albedo
from jcm.surface.land import LandParameters, land_surface_temperature
from jcm.surface.sea import (
    SeaClimatology,
    SeaParameters,
    SeaState,
    advance_sea,
    sea_surface_temperature,
    split_climatology,
)
from jcm.vertical import along_levels

REFERENCE = Path(__file__).parents[1] / "reference" / "columns.nc"
#: Every sixth of the 248 columns.
EVERY = 6


@dataclasses.dataclass(frozen=True)
class Scheme:
    """A scheme as a function of one dictionary, and its arguments."""

    name: str
    function: Callable[[dict[str, Any]], Any]
    arguments: dict[str, Any]

    @property
    def inputs(self) -> dict[str, Array]:
        """Its arrays, all of them floating-point numbers, by dotted name."""
        leaves = jax.tree_util.tree_leaves_with_path(self.arguments)
        return {_dotted(path): x for path, x in leaves}


def _dotted(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


@functools.cache
def columns() -> Columns:
    """Return some columns of the reference code."""
    with xr.open_dataset(REFERENCE) as dataset:
        return Columns(dataset.isel(sample=slice(0, None, EVERY)).load())


def schemes() -> Iterator[Scheme]:
    """Return all schemes with realistic arguments."""
    c = columns()
    for family in (_humidity, _moist, _solar_and_shortwave, _longwave, _surface, _slabs):
        yield from family(c)


def scheme(name: str) -> Scheme:
    """Return one scheme."""
    return next(x for x in schemes() if x.name == name)


def _humidity(c: Columns) -> Iterator[Scheme]:
    sigma = along_levels(LEVELS.centre, c["t"])
    pressure = sigma * c["ps"]
    yield Scheme(
        "saturation humidity",
        lambda a: saturation_specific_humidity(**a, widths=WIDTHS.humidity),
        {"temperature": c["t"], "pressure": pressure})
    yield Scheme(
        "relative humidity", lambda a: relative_humidity(**a),
        {"humidity": c["q"], "saturation_humidity": c["qsat"]})
    yield Scheme(
        "humidity floor", lambda a: humidity_floor(**a, widths=WIDTHS.humidity),
        {"humidity": c["q_raw"]})


def _moist(c: Columns) -> Iterator[Scheme]:
    air = {"humidity": c["q"], "saturation_humidity": c["qsat"]}
    yield Scheme(
        "convection", lambda a: convection(**a, widths=WIDTHS.convection, **COMMON),
        {"surface_pressure": c["ps"], "static_energy": c["se"], **air,
         "parameters": ConvectionParameters()})
    yield Scheme(
        "condensation",
        lambda a: condensation(**a, widths=WIDTHS.condensation, cap="heating", **COMMON),
        {"surface_pressure": c["ps"], **air,
         "convective_top_weight": c.top_weight("cnv_itop"),
         "parameters": CondensationParameters()})
    yield Scheme(
        "clouds", lambda a: clouds(**a, widths=WIDTHS.clouds, **COMMON),
        {"humidity": c["q"], "relative_humidity": c["rh"],
         "precipitation": c["precnv"] + c["precls"],
         "precipitation_top_weight": c.top_weight("lsc_itop"), "static_stability": c["gse"],
         "land_fraction": c["fmask"], "parameters": CloudParameters()})
    yield Scheme(
        "vertical diffusion",
        lambda a: vertical_diffusion(**a, widths=WIDTHS.vertical_diffusion, **COMMON),
        {"static_energy": c["se"], "relative_humidity": c["rh"], **air, "geopotential": c["phi"],
         "convection_active": 1.0 * (c["icnv"] > 0),
         "parameters": VerticalDiffusionParameters()})


def _solar_and_shortwave(c: Columns) -> Iterator[Scheme]:
    yield Scheme(
        "insolation", lambda a: insolation(**a, widths=WIDTHS.radiation),
        {"year_fraction": c["tyear"], "sin_latitude": c["sin_lat"],
         "parameters": SolarParameters()})
    yield Scheme(
        "shortwave", lambda a: shortwave(**a, widths=WIDTHS.radiation, **COMMON),
        {"surface_pressure": c["ps"], "humidity": c["q"], "cover": c["cloudc"],
         "stratiform_cover": c["clstr"], "top_weight": c.top_weight("icltop"),
         "cloud_base_humidity": c["qcloud"],
         "insolation": Insolation(c["fsol"], c["ozupp"], c["ozone"], c["zenit"], c["stratz"]),
         "albedo": c["albsfc"], "parameters": ShortwaveParameters()})


def _longwave(c: Columns) -> Iterator[Scheme]:
    rest = {"widths": WIDTHS.radiation, **COMMON}
    p = LongwaveParameters()
    optics = LongwaveOptics(jnp.moveaxis(c["tau2_lw"], 0, 1), *c["stratc"])
    yield Scheme(
        "longwave optics", lambda a: longwave_optics(**a, **rest),
        {"surface_pressure": c["ps"], "humidity": c["q"], "cover": c["cloudc"],
         "top_weight": c.top_weight("icltop"), "polar_night_cooling": c["stratz"],
         "co2_absorptivity": p.co2_absorptivity, "parameters": p})
    yield Scheme(
        "longwave down", lambda a: longwave_down(**a, **rest),
        {"temperature": c["t"], "optics": optics, "parameters": p})
    yield Scheme(
        "longwave up", lambda a: longwave_up(**a, **rest),
        {"temperature": c["t"], "surface_temperature": c["tsfc"], "surface_emission": c["slru"][2],
         "optics": optics, "parameters": p,
         "down": LongwaveDown(c["slrd"], c["rlwd_dfabs"], c["rlwd_flux"], *c["st4a"])})
    yield Scheme(
        "carbon dioxide", lambda a: co2_absorptivity(**a, trend=True),
        {"parameters": p, "year": jnp.array(1985.0), "year_fraction": jnp.array(0.4)})


def _surface(c: Columns) -> Iterator[Scheme]:
    p = SurfaceFluxParameters()
    yield Scheme(
        "surface fluxes",
        lambda a: surface_fluxes(
            **a, widths=WIDTHS.surface, humidity_widths=WIDTHS.humidity, sea_heat_flux="added",
            skin_energy_balance=True, **COMMON),
        {"surface_pressure": c["ps"], "eastward_wind": c["u"], "northward_wind": c["v"],
         "temperature": c["t"], "specific_humidity": c["q"], "relative_humidity": c["rh"],
         "geopotential": c["phi"], "surface_geopotential": c["phis0"],
         "land_fraction": c["fmask"], "sea_surface_temperature": c["sst_am"],
         "land_surface_temperature": c["stl_am"], "soil_water_availability": c["soilw_am"],
         "snow_cover": c["snowc"], "land_albedo": c["alb_l"], "sea_albedo": c["alb_s"],
         "downward_shortwave": c["ssrd"], "downward_longwave": c["slrd"],
         "orographic_drag": c["forog"], "cosine_latitude": c["cos_lat"],
         "emissivity": LongwaveParameters().surface_emissivity, "parameters": p})
    yield Scheme(
        "orographic drag",
        lambda a: orographic_drag_factor(**a, constants=EARTH, widths=WIDTHS.surface),
        {"surface_geopotential": c["phis0"], "parameters": p})


def _slabs(c: Columns) -> Iterator[Scheme]:
    rest = {"widths": WIDTHS.surface}
    land, sea = c["fmask"], 1 - c["fmask"]
    step = jnp.asarray(DAY / 36)
    yield Scheme(
        "albedo", lambda a: surface_albedo(**a, **rest),
        {"bare_albedo": c["alb0"], "snow": c["snowd_am"], "sea_ice_fraction": c["sice_am"],
         "land_fraction": land, "parameters": AlbedoParameters()})
    yield Scheme(
        "land",
        lambda a: land_surface_temperature(**a, coupling="slab", damping="per_day", **rest),
        {"previous": c["stl_am"] + 1.5, "climatology": c["stl_am"],
         "net_heat_flux": c["hfluxn"][0], "land_fraction": land, "bare_albedo": c["alb0"],
         "time_step": step, "parameters": LandParameters()})
    p = SeaParameters()
    ice = c["sice_am"]
    # The ice of the file is split already: much of it is exactly half, a corner.
    yield Scheme(
        "sea climatology", lambda a: split_climatology(**a, **rest),
        {"temperature": c["sst_am"], "ice_fraction": 0.9 * ice, "parameters": p})
    split = split_climatology(c["sst_am"], ice, parameters=p, **rest)
    state = SeaState(split.ice_temperature - 2, split.ice_fraction, split.water_temperature + 1)
    yield Scheme(
        "sea",
        lambda a: advance_sea(
            **a, constants=EARTH, sea_heat_flux="added", sea="slab", ice="slab",
            damping="per_day", melting_cap=True, **rest),
        {"state": state, "climatology": split, "net_heat_flux": c["hfluxn"][1],
         "sensible_heat_flux": c["shf"][1], "evaporation": c["evap"][1],
         "downward_shortwave": c["ssrd"], "sea_fraction": sea, "cosine_latitude": c["cos_lat"],
         "emissivity": LongwaveParameters().surface_emissivity, "time_step": step,
         "parameters": p, "albedo": AlbedoParameters()})
    yield Scheme(
        "sea surface temperature",
        lambda a: sea_surface_temperature(**a, sea="prescribed"),
        {"state": state, "climatology": SeaClimatology(
            split.water_temperature, split.ice_temperature, split.ice_fraction),
         "anomaly": 0.1 * jnp.cos(jnp.arange(land.size))})
