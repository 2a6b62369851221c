"""Compare every physics scheme with columns of the reference code.

    python tests/compare_columns.py FILE [--json OUT] [--dtype float32]

FILE has the form of `tests/reference/columns.nc`. Each of its variables with `role` = output is
computed from the inputs of its scheme in the file, in float64, and the largest difference over the
largest value is reported. Exit status 1 above 1e-10, for a wrong integer, or for a variable that
is not computed. In float32 a variable passes if at most 1 % of the columns are further than 1e-4
from the reference: switches and the look-up at whole kelvins flip there.
"""

import argparse
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

# A checkout that is not installed is found as well.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from jcm.constants import EARTH
from jcm.physics.clouds import CloudParameters, clouds
from jcm.physics.condensation import CondensationParameters, condensation
from jcm.physics.convection import ConvectionParameters, convection
from jcm.physics.humidity import saturation_specific_humidity
from jcm.physics.insolation import Insolation
from jcm.physics.layers import top_layer
from jcm.physics.longwave import (
    LongwaveDown,
    LongwaveOptics,
    LongwaveParameters,
    longwave_down,
    longwave_optics,
    longwave_up,
)
from jcm.physics.shortwave import ShortwaveParameters, shortwave
from jcm.physics.smooth import exact_widths
from jcm.physics.surface import SurfaceFluxParameters, surface_fluxes
from jcm.physics.vertical_diffusion import VerticalDiffusionParameters, vertical_diffusion
from jcm.vertical import along_levels, speedy_levels

TOLERANCE = 1e-10
TOLERANCE_FLOAT32, SHARE_FLOAT32 = 1e-4, 0.01
#: The reference counts water in grams.
GRAMS = 1e3

LEVELS = speedy_levels()
COMMON = {"levels": LEVELS, "constants": EARTH}
WIDTHS = exact_widths()


class Columns:
    """The variables of a file: level first, water in kg."""

    def __init__(self, dataset: xr.Dataset):
        self.dataset = dataset

    def __getitem__(self, name: str) -> jax.Array:
        variable = self.dataset[name]
        order = [d for d in variable.dims if d != "sample"] + ["sample"]
        values = variable.transpose(*order).values
        return jnp.asarray(values / GRAMS if variable.attrs["units"].startswith("g ") else values)

    def top_weight(self, name: str) -> jax.Array:
        """Weights of a layer index that counts from 1; the last one means none."""
        return jax.nn.one_hot(self[name] - 1, LEVELS.count + 1, dtype=float, axis=0)


def flux_factor(c: Columns) -> jax.Array:
    """Return g / (dsigma p0 p), which turns a flux convergence into a tendency."""
    factor = EARTH.gravity / (LEVELS.thickness * EARTH.reference_pressure)
    return along_levels(factor, c["q"]) / c["ps"]


def humidity_outputs(c: Columns) -> dict[str, jax.Array]:
    """Return the outputs of the saturation humidity."""
    sigma = along_levels(LEVELS.centre, c["t"])
    saturation = saturation_specific_humidity(c["t"], sigma * c["ps"], widths=WIDTHS.humidity)
    return {"qsat": saturation, "rh": c["q"] / saturation}


def moist_outputs(c: Columns) -> dict[str, jax.Array]:
    """Return the outputs of convection, condensation and clouds."""
    mass = flux_factor(c)
    deep = convection(
        c["ps"], c["se"], c["q"], c["qsat"],
        parameters=ConvectionParameters(), widths=WIDTHS.convection, **COMMON)  # fmt: skip
    top = top_layer(deep.top_weight)
    rain = condensation(
        c["ps"], c["q"], c["qsat"], c.top_weight("cnv_itop"), cap="heating",
        parameters=CondensationParameters(), widths=WIDTHS.condensation, **COMMON)  # fmt: skip
    cloud = clouds(
        c["q"], c["rh"], c["precnv"] + c["precls"], c.top_weight("lsc_itop"), c["gse"],
        c["fmask"], parameters=CloudParameters(), widths=WIDTHS.clouds, **COMMON)  # fmt: skip
    return {
        "cnv_itop": top,
        "icnv": LEVELS.count - top,
        "cbmf": deep.base_mass_flux,
        "precnv": deep.precipitation,
        "cnv_dfse": deep.energy_convergence,
        "cnv_dfqa": deep.moisture_convergence,
        "tt_cnv": c["cnv_dfse"] * mass / EARTH.heat_capacity,
        "qt_cnv": c["cnv_dfqa"] * mass,
        "lsc_itop": top_layer(rain.top_weight),
        "precls": rain.precipitation,
        "tt_lsc": rain.temperature_tendency,
        "qt_lsc": rain.humidity_tendency,
        "icltop": top_layer(cloud.top_weight),
        "cloudc": cloud.cover,
        "clstr": cloud.stratiform_cover,
        "qcloud": cloud.base_humidity,
    }


def radiation_outputs(c: Columns) -> dict[str, jax.Array]:
    """Return the outputs of shortwave and longwave radiation."""
    heat = flux_factor(c) / EARTH.heat_capacity
    sun = Insolation(c["fsol"], c["ozupp"], c["ozone"], c["zenit"], c["stratz"])
    short = shortwave(
        c["ps"], c["q"], c["cloudc"], c["clstr"], c.top_weight("icltop"), c["qcloud"], sun,
        c["albsfc"], parameters=ShortwaveParameters(), widths=WIDTHS.radiation,
        **COMMON)  # fmt: skip
    p = LongwaveParameters()
    long = {"parameters": p, "widths": WIDTHS.radiation, **COMMON}
    optics = longwave_optics(
        c["ps"], c["q"], c["cloudc"], c.top_weight("icltop"), c["stratz"], p.co2_absorptivity,
        **long)  # fmt: skip
    given = LongwaveOptics(jnp.moveaxis(c["tau2_lw"], 0, 1), *c["stratc"])
    down = longwave_down(c["t"], given, **long)
    given_down = LongwaveDown(c["slrd"], c["rlwd_dfabs"], c["rlwd_flux"], *c["st4a"])
    up = longwave_up(c["t"], c["tsfc"], c["slru"][2], given, given_down, **long)
    return {
        "ssrd": short.surface_downward,
        "ssr": short.surface_net,
        "tsr": short.toa_net,
        "rsw_dfabs": short.absorption,
        "tt_rsw": c["rsw_dfabs"] * heat,
        "tau2_lw": jnp.moveaxis(optics.transmissivity, 1, 0),
        "stratc": jnp.stack([optics.polar_night_cooling, optics.stratospheric_emission]),
        "slrd": down.surface_downward,
        "rlwd_dfabs": down.absorption,
        "rlwd_flux": down.band_flux,
        "st4a": jnp.stack([down.emission, down.emission_gradient]),
        "slr": up.surface_net,
        "olr": up.toa_outgoing,
        "rlwu_flux": up.band_flux,
        "rlw_dfabs": up.absorption,
        "tt_rlw": c["rlw_dfabs"] * heat,
    }


def surface_outputs(c: Columns) -> dict[str, jax.Array]:
    """Return the outputs of the surface fluxes and of vertical diffusion."""
    fluxes = surface_fluxes(
        c["ps"], c["u"], c["v"], c["t"], c["q"], c["rh"], c["phi"], c["phis0"], c["fmask"],
        c["sst_am"], c["stl_am"], c["soilw_am"], c["snowc"], c["alb_l"], c["alb_s"], c["ssrd"],
        c["slrd"], c["forog"], c["cos_lat"], LongwaveParameters().surface_emissivity,
        parameters=SurfaceFluxParameters(), widths=WIDTHS.surface,
        humidity_widths=WIDTHS.humidity, sea_heat_flux="added", skin_energy_balance=True,
        **COMMON)  # fmt: skip
    three = lambda name: jnp.stack(  # noqa: E731
        [getattr(s, name) for s in (fluxes.land, fluxes.sea, fluxes.mean)])
    mixing = vertical_diffusion(
        c["se"], c["rh"], c["q"], c["qsat"], c["phi"], 1.0 * (c["icnv"] > 0),
        parameters=VerticalDiffusionParameters(), widths=WIDTHS.vertical_diffusion,
        **COMMON)  # fmt: skip
    mass = flux_factor(c)
    lowest = lambda flux, factor: jnp.zeros_like(mass).at[-1].set(  # noqa: E731
        flux * factor[-1])
    return {
        "ustr": three("eastward_stress"),
        "vstr": three("northward_stress"),
        "shf": three("sensible_heat_flux"),
        "evap": three("evaporation"),
        "slru": three("emitted_longwave"),
        "hfluxn": three("net_heat_flux")[:2],
        "tsfc": fluxes.mean.surface_temperature,
        "tskin": fluxes.mean.skin_temperature,
        "u0": fluxes.eastward_wind,
        "v0": fluxes.northward_wind,
        "t0": fluxes.air_temperature,
        "tt_vdi": mixing.temperature_tendency,
        "qt_vdi": mixing.humidity_tendency,
        "ut_pbl": lowest(c["ustr"][2], mass),
        "vt_pbl": lowest(c["vstr"][2], mass),
        "tt_pbl": c["tt_vdi"] + lowest(c["shf"][2], mass / EARTH.heat_capacity),
        "qt_pbl": c["qt_vdi"] + lowest(c["evap"][2], mass),
    }


def total_outputs(c: Columns) -> dict[str, jax.Array]:
    """Return the sums over all schemes."""
    return {
        "tt_phy": c["tt_cnv"] + c["tt_lsc"] + c["tt_rsw"] + c["tt_rlw"] + c["tt_pbl"],
        "qt_phy": c["qt_cnv"] + c["qt_lsc"] + c["qt_pbl"],
    }


def compare(path: Path, dtype: str = "float64") -> list[dict]:
    """Return one row per output variable of the file: name, scheme, difference, pass.

    The difference is the largest one over the largest value, or of integers the number of columns
    that differ; in float32 it is the share of columns outside the tolerance.
    """
    measure, bound = {
        "float64": (difference, TOLERANCE), "float32": (share_outside, SHARE_FLOAT32)}[dtype]
    with xr.open_dataset(path) as dataset:
        c = Columns(dataset.load())
    computed = {}
    for outputs in (
        humidity_outputs, moist_outputs, radiation_outputs, surface_outputs, total_outputs
    ):
        computed |= outputs(c)
    rows = []
    for name, variable in c.dataset.data_vars.items():
        if variable.attrs.get("role") != "output":
            continue
        row = {"variable": name, "scheme": variable.attrs["scheme"], "difference": None}
        if name in computed:
            row["difference"] = measure(computed[name], c[name])
        whole = np.issubdtype(variable.dtype, np.integer) and dtype == "float64"
        limit = 0 if whole else bound
        row["pass"] = row["difference"] is not None and row["difference"] <= limit
        rows.append(row)
    return rows


def difference(computed: jax.Array, expected: jax.Array) -> float:
    """Return the largest difference over the largest value; of integers, how many differ."""
    if np.issubdtype(expected.dtype, np.integer):
        return float(np.sum(np.asarray(computed) != np.asarray(expected)))
    scale = np.abs(expected).max() or 1.0
    return float(np.abs(np.asarray(computed) - np.asarray(expected)).max() / scale)


def share_outside(computed: jax.Array, expected: jax.Array) -> float:
    """Return the share of columns that differ by more than single precision allows."""
    scale = np.abs(expected).max() or 1.0
    error = np.abs(np.asarray(computed) - np.asarray(expected)) / scale
    return float(np.mean(np.any(error.reshape(-1, error.shape[-1]) > TOLERANCE_FLOAT32, axis=0)))


def main() -> int:
    """Print the table and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--json", type=Path, help="write the table here as well")
    parser.add_argument("--dtype", choices=["float64", "float32"], default="float64")
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", arguments.dtype == "float64")
    rows = compare(arguments.file, arguments.dtype)
    for row in rows:
        shown = "missing" if row["difference"] is None else f"{row['difference']:.1e}"
        print(f"{row['variable']:12s} {row['scheme']:28s} {shown:>9s}  "
              f"{'pass' if row['pass'] else 'FAIL'}")  # fmt: skip
    passed = sum(row["pass"] for row in rows)
    bound = f"{TOLERANCE:g} of their maximum"
    if arguments.dtype == "float32":
        bound = f"{TOLERANCE_FLOAT32:g} of their maximum in {1 - SHARE_FLOAT32:.0%} of the columns"
    print(f"{passed} of {len(rows)} variables agree to {bound}")
    if arguments.json:
        report = {"dtype": arguments.dtype, "bound": bound, "variables": rows,
                  "passed": passed == len(rows)}  # fmt: skip
        arguments.json.write_text(json.dumps(report, indent=1))
    return 0 if rows and passed == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
