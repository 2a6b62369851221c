"""Compare masks, climatologies, insolation and slab models with the reference code.

    python tests/compare_boundaries.py FILE [--json OUT]

FILE holds the boundary fields of the reference, surface fields at several dates (`interp_*`), the
coefficients of its slabs (`slab_*`) and calls of its coupler with what went in and what came out
(`snap_*`). Each result is computed from the inputs in the file, in float64 and with the options
of the preset `speedy_f90`; the largest difference over the largest value is reported. Exit status
1 above 1e-6, for a mask that differs anywhere, for a result that is not computed, and for one that
the file lacks. The tolerance is that of the reference, whose numeric literals have single
precision.

Its latitudes are approximate as well: sines and cosines are taken from the file, and fields that
pass through a spherical-harmonic transform (the filtered orography, the drag factor that follows
from it, the corrections of the diffusion) are not compared here. `compare_step.py` compares them
with exact nodes.
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

from jcm.calendar import parse_date
from jcm.constants import EARTH
from jcm.options import SPEEDY_F90
from jcm.phases import YearPhase, month_number, year_phase
from jcm.physics.insolation import SolarParameters, insolation
from jcm.physics.longwave import LongwaveParameters
from jcm.physics.smooth import exact_widths
from jcm.surface.albedo import AlbedoParameters, surface_albedo
from jcm.surface.anomaly import anomaly_from_window, anomaly_window, original_anomaly_window
from jcm.surface.boundary import (
    UNDEFINED_AMOUNT,
    UNDEFINED_TEMPERATURE,
    BoundaryParameters,
    linear_interpolation,
    masks,
    mean_conserving_interpolation,
    on_mask,
)
from jcm.surface.land import LandParameters, land_heat_capacity, land_surface_temperature
from jcm.surface.sea import (
    SeaClimatology,
    SeaParameters,
    SeaState,
    advance_sea,
    ice_heat_capacity,
    initial_sea,
    mixed_layer_heat_capacity,
    sea_surface_temperature,
    split_climatology,
)
from jcm.surface.slab import damping_factor

TOLERANCE = 1e-6
#: The reference counts water in grams.
GRAMS = 1e3
#: Time step of the reference [s], the start of its run, and the first of its anomalies.
TIME_STEP = 2400.0
START = "1982-01-01"
FIRST_ANOMALY = month_number(1981, 11)
#: Calls of the coupler on a first day of the month after which the anomaly window is settled.
CALLS = 3

WIDTHS = exact_widths()
ICE = {"ice": SPEEDY_F90.sea_ice, "damping": SPEEDY_F90.slab_damping,
       "melting_cap": SPEEDY_F90.ice_melting_cap == "on"}  # fmt: skip

#: Variables that hold results, by their beginning; those that are inputs or say when.
RESULTS = ("fmask_", "bmask_", "init_", "interp_", "slab_", "snap_")
INPUTS = {
    *(f"interp_{name}" for name in ("month", "day")),
    *(f"snap_{name}" for name in (
        "year", "month", "day", "hour", "minute", "model_step",
        "snowd_am", "soilw_am", "stl_am", "sst_am", "sice_am", "tice_am",
        "stl_lm_before", "tice_om_before", "sice_om_before", "tice_am_before", "sice_am_before",
        "sst_om_before", "hfluxn_land", "hfluxn_sea", "shf_sea", "evap_sea", "ssrd_sea")),
}  # fmt: skip
#: Result -> the variable whose largest value is its scale. The cooling of the polar night is what
#: the irradiance lacks to 6 W m-2: its rounding is that of the irradiance.
SCALES = {"interp_stratz": "interp_fsol"}
#: Spectra, see above.
TRANSFORMED = {"init_tcorh", "init_qcorh", "interp_qcorh", "snap_qcorh"}


class Boundaries:
    """The variables of a file: (..., lat, lon), numbers per latitude (lat, 1), water in kg."""

    def __init__(self, dataset: xr.Dataset):
        self.dataset = dataset

    def __getitem__(self, name: str) -> jax.Array:
        variable = self.dataset[name]
        values = variable.values[:, None] if variable.dims == ("lat",) else variable.values
        return jnp.asarray(values / GRAMS if variable.attrs["units"].startswith("g ") else values)

    def phases(self, group: str, year: int | None = None) -> list[YearPhase]:
        """Return the dates of a group of variables."""
        months, days = (self.dataset[f"{group}_{part}"].values for part in ("month", "day"))
        years = np.full_like(days, year) if year else self.dataset[f"{group}_year"].values
        return [phase_of(f"{y:04d}-{m:02d}-{d:02d}")
                for y, m, d in zip(years, months, days, strict=True)]  # fmt: skip


def phase_of(date: str) -> YearPhase:
    """Return the phase of a date as the reference counts it."""
    return year_phase(jnp.asarray(parse_date(date)), original=SPEEDY_F90.year == "original")


def mask_results(b: Boundaries) -> dict[str, jax.Array]:
    """Return the masks, from the share of land."""
    mask = masks(b["fmask"], parameters=BoundaryParameters())
    return {"fmask_l": mask.land_fraction, "fmask_s": mask.sea_fraction,
            "bmask_l": mask.land, "bmask_s": mask.sea}  # fmt: skip


def monthly(b: Boundaries, phases: list[YearPhase]) -> dict[str, jax.Array]:
    """Return all monthly fields at dates, under the names of the reference."""
    mask = masks(b["fmask"], parameters=BoundaryParameters())
    series = {
        "stlcl_ob": on_mask(b["stl_clim"], mask.land, UNDEFINED_TEMPERATURE),
        "snowdcl_ob": on_mask(b["snowd_clim"], mask.land, UNDEFINED_AMOUNT),
        "soilwcl_ob": on_mask(b["soilw_clim"], mask.land, UNDEFINED_AMOUNT),
        "sstcl_interp": on_mask(b["sst_clim"], mask.sea, UNDEFINED_TEMPERATURE),
        "sicecl_interp": on_mask(b["sice_clim"], mask.sea, UNDEFINED_AMOUNT),
    }
    conserving = ("stlcl_ob", "sstcl_interp")
    return {
        name: jnp.stack([
            (mean_conserving_interpolation if name in conserving else linear_interpolation)(
                x, phase.month, phase.month_fraction)
            for phase in phases])
        for name, x in series.items()
    }  # fmt: skip


def split(fields: dict[str, jax.Array]) -> SeaClimatology:
    """Return the sea split into open water and ice."""
    return split_climatology(
        fields["sstcl_interp"], fields["sicecl_interp"],
        parameters=SeaParameters(), widths=WIDTHS.surface)  # fmt: skip


def split_names(climatology: SeaClimatology) -> dict[str, jax.Array]:
    """Return the split under the names of the reference."""
    return {"sstcl_ob": climatology.water_temperature, "sicecl_ob": climatology.ice_fraction,
            "ticecl_ob": climatology.ice_temperature}  # fmt: skip


def albedo_names(b: Boundaries, snow: jax.Array, ice: jax.Array) -> dict[str, jax.Array]:
    """Return snow cover and albedo under the names of the reference."""
    land = jnp.broadcast_to(b["fmask_l"], snow.shape)
    albedo = surface_albedo(
        jnp.broadcast_to(b["alb0"], snow.shape), snow, ice, land,
        parameters=AlbedoParameters(), widths=WIDTHS.surface)  # fmt: skip
    return {"snowc": albedo.snow_cover, "alb_l": albedo.land, "alb_s": albedo.sea,
            "albsfc": albedo.mean}  # fmt: skip


def phase_names(phases: list[YearPhase]) -> dict[str, jax.Array]:
    """Return the fractions of year and month under the names of the reference."""
    return {"tyear": jnp.stack([p.year_fraction for p in phases]),
            "tmonth": jnp.stack([p.month_fraction for p in phases])}  # fmt: skip


def surface_at_dates(b: Boundaries, phases: list[YearPhase]) -> dict[str, jax.Array]:
    """Return the surface with slabs at their climatology and the first anomaly window."""
    start = phase_of(START)
    window = anomaly_window(
        b["ssta_init"], FIRST_ANOMALY, month_number(start.year, start.month))
    fields = monthly(b, phases)
    climatology = split(fields)
    anomaly = jnp.stack([anomaly_from_window(window, p.month_fraction) for p in phases])
    sea = sea_surface_temperature(
        initial_sea(climatology), climatology, anomaly, sea=SPEEDY_F90.sea)
    return (
        fields | split_names(climatology) | {"sstan_ob": anomaly, "sst_am": sea}
        | albedo_names(b, fields["snowdcl_ob"], climatology.ice_fraction)
    )  # fmt: skip


def start_results(b: Boundaries) -> dict[str, jax.Array]:
    """Return the surface at the start of the run."""
    fields = surface_at_dates(b, [phase_of(START)])
    names = {"stl_lm": "stlcl_ob", "snowd_am": "snowdcl_ob", "soilw_am": "soilwcl_ob",
             "sice_am": "sicecl_ob", "tice_am": "ticecl_ob"}  # fmt: skip
    names |= {n: n for n in ("sst_am", "sstan_ob", "sstcl_ob", "snowc", "alb_l", "alb_s", "albsfc")}
    return {f"init_{name}": fields[ours][0] for name, ours in names.items()}


def date_results(b: Boundaries) -> dict[str, jax.Array]:
    """Return the surface and the sun at the dates of the file, all in the year of the start."""
    phases = b.phases("interp", int(START[:4]))
    suns = [insolation(p.year_fraction, b["sin_lat"][:, 0],
                       parameters=SolarParameters(), widths=WIDTHS.radiation)
            for p in phases]  # fmt: skip
    sun = {
        "fsol": jnp.stack([s.irradiance for s in suns]),
        "ozupp": jnp.stack([s.ozone_upper for s in suns]),
        "ozone": jnp.stack([s.ozone_lower for s in suns]),
        "zenit": jnp.stack([s.zenith_factor for s in suns]),
        "stratz": jnp.stack([s.polar_night_cooling for s in suns]),
    }
    fields = phase_names(phases) | surface_at_dates(b, phases) | sun
    return {f"interp_{name}": x for name, x in fields.items()}


def coefficient_results(b: Boundaries) -> dict[str, jax.Array]:
    """Return the coefficients of the slabs."""
    land, sea = LandParameters(), SeaParameters()
    with_land = 1.0 * (b["fmask_l"] >= land.minimum_land_fraction)
    with_sea = 1.0 * (b["fmask_s"] >= sea.minimum_sea_fraction)
    damping = SPEEDY_F90.slab_damping
    whole = lambda x: jnp.broadcast_to(x, b["fmask"].shape)  # noqa: E731
    return {
        "slab_rhcapl": TIME_STEP
        / land_heat_capacity(b["alb0"], parameters=land, widths=WIDTHS.surface),
        "slab_rhcaps": TIME_STEP / mixed_layer_heat_capacity(whole(b["cos_lat"]), sea),
        "slab_rhcapi": TIME_STEP / ice_heat_capacity(whole(b["cos_lat"]), sea),
        "slab_cdland": damping_factor(
            with_land, land.dissipation_time, TIME_STEP, damping=damping),
        "slab_cdsea": damping_factor(
            with_sea, sea.sea_dissipation_time, TIME_STEP, damping=damping),
        "slab_cdice": damping_factor(
            with_sea, sea.ice_dissipation_time, TIME_STEP, damping=damping),
    }  # fmt: skip


def call_results(b: Boundaries) -> dict[str, jax.Array]:
    """Return what the calls of the coupler make of the state before, and the albedo of the day."""
    phases = b.phases("snap")
    fields = monthly(b, phases)
    climatology = split(fields)
    windows = b["snap_sstan3"]
    anomaly = jnp.stack([
        anomaly_from_window(w, p.month_fraction) for w, p in zip(windows, phases, strict=True)])
    many = lambda x: jnp.broadcast_to(x, anomaly.shape)  # noqa: E731
    land = land_surface_temperature(
        b["snap_stl_lm_before"], fields["stlcl_ob"], b["snap_hfluxn_land"], many(b["fmask_l"]),
        many(b["alb0"]), TIME_STEP, parameters=LandParameters(), widths=WIDTHS.surface,
        coupling=SPEEDY_F90.land, damping=SPEEDY_F90.slab_damping)  # fmt: skip
    before = SeaState(b["snap_tice_am_before"], b["snap_sice_am_before"], b["snap_sst_om_before"])
    sea = sea_step(b, before, climatology, sea_heat_flux=SPEEDY_F90.sea_heat_flux,
                   sea=SPEEDY_F90.sea)  # fmt: skip
    # The reference runs its mixed layer too, although nothing depends on it. It takes the flux
    # as it comes, which the model does where the turbulent fluxes are subtracted.
    mixed = sea_step(b, before, climatology, sea_heat_flux="subtracted", sea="slab")
    handed = sea_surface_temperature(sea, climatology, anomaly, sea=SPEEDY_F90.sea)
    fields |= phase_names(phases) | split_names(climatology) | {
        "stl_lm_after": land,
        "tice_om_after": sea.ice_temperature,
        "tice_am_after": sea.ice_temperature,
        "sice_am_after": sea.ice_fraction,
        "sst_om_after": mixed.mixed_layer_temperature,
        "sstan_ob": anomaly,
        "sstan3": settled_windows(b, phases),
        "sst_am_after": handed,
    }  # fmt: skip
    fields |= albedo_names(b, b["snap_snowd_am"], b["snap_sice_am"])
    return {f"snap_{name}": x for name, x in fields.items()}


def sea_step(
    b: Boundaries, before: SeaState, climatology: SeaClimatology, *, sea_heat_flux: str, sea: str
) -> SeaState:
    """Return ice and mixed layer after a call."""
    sea_fraction = jnp.broadcast_to(b["fmask_s"], before.ice_temperature.shape)
    return advance_sea(
        before, climatology, b["snap_hfluxn_sea"], b["snap_shf_sea"], b["snap_evap_sea"],
        b["snap_ssrd_sea"], sea_fraction, b["cos_lat"], LongwaveParameters().surface_emissivity,
        TIME_STEP, parameters=SeaParameters(), albedo=AlbedoParameters(), constants=EARTH,
        widths=WIDTHS.surface, sea_heat_flux=sea_heat_flux, sea=sea, **ICE)  # fmt: skip


def settled_windows(b: Boundaries, phases: list[YearPhase]) -> jax.Array:
    """Return the anomaly windows that the first days of the months leave.

    The file holds the records of three months only. In the others the window before the first
    day is taken from the file: it must then come out unchanged.
    """
    start = phase_of(START)
    windows = []
    for window, phase in zip(b["snap_sstan3"], phases, strict=True):
        record = int(month_number(start.year, phase.month)) - FIRST_ANOMALY
        if 0 <= record < len(b["ssta_init"]):
            window = b["ssta_init"]
            first_day = phase_of(f"{int(phase.year):04d}-{int(phase.month) + 1:02d}-01")
            for _ in range(CALLS):
                window = original_anomaly_window(
                    window, b["ssta_init"], FIRST_ANOMALY, start.year, first_day)
        windows.append(original_anomaly_window(
            window, b["ssta_init"], FIRST_ANOMALY, start.year, phase))
    return jnp.stack(windows)


def compare(path: Path) -> list[dict]:
    """Return one row per result: name, part, difference, pass."""
    with xr.open_dataset(path, decode_times=False) as dataset:
        b = Boundaries(dataset.load())
    computed: dict[str, jax.Array] = {}
    for results in (
        mask_results, start_results, date_results, coefficient_results, call_results
    ):
        computed |= results(b)
    in_file = {name for name in b.dataset.data_vars if name.startswith(RESULTS)}
    names = in_file - INPUTS - TRANSFORMED | set(computed)
    order = [name for name in b.dataset.data_vars if name in names] + sorted(names - in_file)
    rows = []
    for name in order:
        row = {"variable": name, "part": part_of(name), "difference": None}
        if name in computed and name in in_file:
            scale = np.abs(b.dataset[SCALES.get(name, name)].values).max()
            row["difference"] = difference(computed[name], b.dataset[name].values, scale)
        limit = 0 if name.startswith("bmask") else TOLERANCE
        row["pass"] = row["difference"] is not None and row["difference"] <= limit
        rows.append(row)
    return rows


def part_of(name: str) -> str:
    """Return what a variable belongs to."""
    parts = {"init": "surface at the start", "slab": "slab coefficients",
             "snap": "calls of the coupler"}  # fmt: skip
    beginning, _, rest = name.partition("_")
    if beginning == "interp":
        sun = ("fsol", "ozupp", "ozone", "zenit", "stratz")
        return "insolation" if rest in sun else "surface at dates"
    return parts.get(beginning, "masks")


def difference(computed: jax.Array, expected: np.ndarray, scale: float) -> float:
    """Return the largest difference over the scale, infinite for another shape or a NaN."""
    if computed.shape != expected.shape:
        return float("inf")
    found = float(np.abs(np.asarray(computed) - expected).max() / (scale or 1.0))
    return found if np.isfinite(found) else float("inf")


def main() -> int:
    """Print the table and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--json", type=Path, help="write the table here as well")
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    rows = compare(arguments.file)
    for row in rows:
        shown = "missing" if row["difference"] is None else f"{row['difference']:.1e}"
        print(f"{row['variable']:20s} {row['part']:22s} {shown:>9s}  "
              f"{'pass' if row['pass'] else 'FAIL'}")  # fmt: skip
    passed = sum(row["pass"] for row in rows)
    print(f"{passed} of {len(rows)} variables agree to {TOLERANCE:g} of their maximum")
    if arguments.json:
        arguments.json.write_text(json.dumps(
            {"tolerance": TOLERANCE, "variables": rows, "passed": passed == len(rows)}, indent=1))
    return 0 if rows and passed == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
