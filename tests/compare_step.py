"""Compare a full step, the start-up and a free run with the reference code.

    python tests/compare_step.py FILE [--json OUT] [--dtype float32]

FILE holds the numbers of one step of the reference, stage by stage, with exact Gauss nodes: the
group `stepn_*` is required, the start-up (`rest_*`, `startup*`) and the trajectories (`traj*`,
`daily_*`) are compared where they are present. Each stage starts from the file's previous stage,
and once more all of them run as a chain. Preset `speedy_f90`, float64. Exit status 1 if a number
is above its bound: 1e-10 of the maximum for a stage, 1e-7 for the start-up and trajectories, RMSE
1e-6 (u, v, T, q) and 1e-4 (geopotential, surface pressure) for daily fields. In float32 the bounds
are 1e-4 of the maximum up to the first step of the free run, and for daily fields the size of
convective noise, which rounding triggers within two days.
"""

import argparse
import json
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

# A checkout that is not installed is found as well.
sys.path.append(str(Path(__file__).resolve().parents[1]))

import jcm
from jcm.calendar import parse_date
from jcm.dynamics.leapfrog import leapfrog
from jcm.dynamics.speedy import add_physics
from jcm.initial import rest_prognostics, start_state
from jcm.physics import Surroundings
from jcm.physics.insolation import insolation
from jcm.physics.surface import orographic_drag_factor
from jcm.simulate import advance
from jcm.state import Prognostics, Tendency

#: Bounds of a stage and of a trajectory, and of daily fields in m s-1, K, g kg-1, m2 s-2, Pa.
BOUNDS = {"float64": (1e-10, 1e-7), "float32": (1e-4, 1e-4)}
DAILY = {
    "float64": {"u": 1e-6, "v": 1e-6, "t": 1e-6, "q": 1e-6, "phi": 1e-4, "ps": 1e-4},
    "float32": {"u": 0.45, "v": 0.45, "t": 0.25, "q": 0.12, "phi": 90.0, "ps": 100.0},
}
NAMES = ("vor", "div", "t", "q", "lnps")
#: The reference counts humidity in grams per kilogram.
GRAMS = 1e3


class Reference:
    """The variables of a file in the axes and units of the model."""

    def __init__(self, dataset: xr.Dataset):
        self.dataset = dataset

    def __contains__(self, name: str) -> bool:
        return name in self.dataset

    def raw(self, name: str) -> np.ndarray:
        """Values with humidity in kg."""
        variable = self.dataset[name]
        return variable.values / (GRAMS if variable.attrs["units"].startswith("g ") else 1)

    def grid(self, name: str) -> jax.Array:
        """A field (..., lat, lon) as (..., lon, lat); one number per latitude stays as it is."""
        values = self.raw(name)
        return jnp.asarray(np.swapaxes(values, -1, -2) if values.ndim > 1 else values)

    def spectrum(self, name: str, time_level: int | None = None) -> jax.Array:
        """A spectrum ([level], m, n, re/im) as (m, re/im, level, n)."""
        values = self.raw(name)
        values = values if time_level is None else values[time_level]
        values = values if values.ndim == 4 else values[None]
        return jnp.asarray(values.transpose(1, 3, 0, 2))

    def prognostics(self, pattern: str, time_level: int | None = None) -> Prognostics:
        """Five spectra, of which `pattern` has the place of the name."""
        return Prognostics(*(self.spectrum(pattern.format(n), time_level) for n in NAMES))


class Table:
    """Rows of the comparison."""

    def __init__(self, model: jcm.Model, dtype: str):
        self.rows: list[dict] = []
        self.dtype = dtype
        self.stage, self.trajectory = BOUNDS[dtype]
        self.inside = np.asarray(model.transform.degree <= model.grid.truncation)

    def add(self, stage: str, name: str, value: float, bound: float) -> None:
        """Add a number and its bound."""
        self.rows.append({
            "stage": stage, "variable": name, "difference": float(value), "bound": bound,
            "pass": bool(value <= bound)})  # fmt: skip

    def absent(self, stage: str) -> None:
        """Add a group that the file does not have."""
        self.rows.append({"stage": stage, "variable": "-", "difference": None, "bound": None,
                          "pass": True})  # fmt: skip

    def field(
        self, stage: str, name: str, computed: jax.Array, expected: jax.Array,
        bound: float | None = None,
    ) -> None:  # fmt: skip
        """Compare relative to the maximum; absolutely where the reference is zero."""
        scale = np.abs(expected).max() or 1.0
        error = np.abs(np.asarray(computed) - np.asarray(expected)).max()
        self.add(stage, name, error / scale, self.stage if bound is None else bound)

    def spectra(
        self, stage: str, computed: Prognostics, expected: Prognostics,
        names: tuple[str, ...] = NAMES, bound: float | None = None, without_mean: bool = False,
    ) -> None:  # fmt: skip
        """Compare spectra inside the truncation."""
        pairs = zip(NAMES, jax.tree.leaves(computed), jax.tree.leaves(expected), strict=True)
        for name, a, b in pairs:
            if name not in names:
                continue
            a, b = (np.array(x) * self.inside for x in (a, b))
            if without_mean and name in ("t", "q"):
                a[0, 0, :, 0] = b[0, 0, :, 0] = 0
            self.field(stage, name, a, b, bound)


def compare_stages(ref: Reference, model: jcm.Model, table: Table) -> None:
    """Compare one step, each stage from the file's previous one, and as a chain."""
    dynamics, parameters = model.dynamics, jcm.reference_parameters(model)
    previous, current = (ref.prognostics("stepn_in_{}", level) for level in (0, 1))
    phis = ref.spectrum("phis")
    corrections = ref.spectrum("stepn_tcorh"), ref.spectrum("stepn_qcorh")
    stage, dt = jnp.asarray(2), jnp.asarray(2 * model.time_step)

    fields = dynamics.grid_fields(current)
    compare_grid_fields(ref, model, fields, table)
    dynamical = dynamics.grid_tendency(fields)
    for name in "uvtq":
        table.field("grid dynamics", name, dynamical[name], level_second(ref, f"{name}tend_dyn"))
    physics = physics_tendency(ref, model, parameters, previous, phis, table)
    for name, part in zip("uvtq", jax.tree.leaves(physics), strict=True):
        both = level_second(ref, f"{name}tend_dyn") + jnp.moveaxis(part, 0, 1)
        table.field("grid total", name, both, level_second(ref, f"{name}tend_tot"))

    given = {name: level_second(ref, f"{name}tend_tot") for name in "uvtq"}
    given["lnps"] = dynamical["lnps"]
    gridpart = dynamics.spectral_tendency(given, fields)
    table.spectra("gridpart", gridpart, ref.prognostics("stepn_{}dt_gridpart"))

    def stage_of(label: str, template: Prognostics) -> Prognostics:
        """The file's stage; fields that the stage does not change come from the one before."""
        return Prognostics(*(
            ref.spectrum(f"stepn_{n}dt_{label}") if f"stepn_{n}dt_{label}" in ref else x
            for n, x in zip(NAMES, jax.tree.leaves(template), strict=True)))  # fmt: skip

    def changed(label: str) -> tuple[str, ...]:
        return tuple(n for n in NAMES if f"stepn_{n}dt_{label}" in ref)

    start = ref.prognostics("stepn_{}dt_gridpart")
    expected = stage_of("explicit", start)
    explicit = dynamics.linear_terms(start, previous, phis)
    table.spectra("explicit", explicit, expected, changed("explicit"))
    start, expected = expected, stage_of("implicit", expected)
    implicit = dynamics.implicit_correction(start, stage, dt)
    table.spectra("implicit", implicit, expected, changed("implicit"))
    start, expected = expected, stage_of("final", expected)
    final = dynamics.diffused(start, previous, *corrections, dt, parameters.diffusion)
    table.spectra("final", final, expected)
    not_starting = jnp.asarray(False)
    out = leapfrog(
        previous, current, dynamics_truncated(model, expected), dt, not_starting,
        parameters.filter)  # fmt: skip
    for level in (0, 1):
        table.spectra(
            f"out, time level {level}", out[level], ref.prognostics("stepn_out_{}", level))

    total = dynamics.spectral_tendency(add_physics(dynamical, physics), fields)
    chain = dynamics.linear_terms(total, previous, phis)
    chain = dynamics.implicit_correction(chain, stage, dt)
    chain = dynamics.diffused(chain, previous, *corrections, dt, parameters.diffusion)
    table.spectra("chain, final", chain, ref.prognostics("stepn_{}dt_final"))
    out = leapfrog(previous, current, chain, dt, not_starting, parameters.filter)
    for level in (0, 1):
        table.spectra(
            f"chain, out, time level {level}", out[level], ref.prognostics("stepn_out_{}", level))


def dynamics_truncated(model: jcm.Model, tendency: Prognostics) -> Prognostics:
    """Remove what lies beyond the truncation from the file's tendencies."""
    return jax.tree.map(model.transform.truncated, tendency)


def level_second(ref: Reference, name: str) -> jax.Array:
    """A grid field of the step as (lon, level, lat)."""
    return jnp.moveaxis(ref.grid(f"stepn_{name}"), 0, 1)


def compare_grid_fields(ref: Reference, model: jcm.Model, fields: object, table: Table) -> None:
    """Compare what the dynamics sees on the grid."""
    px, py = fields.pressure_gradient
    velocity, _, _ = model.dynamics.interface_velocity(fields)
    lnps = model.transform.synthesis(ref.spectrum("stepn_in_lnps", 1))
    for name, computed in {
        "u": fields.eastward_wind,
        "v": fields.northward_wind,
        "t": fields.temperature,
        "q": fields.specific_humidity,
        "absvor": fields.absolute_vorticity,
        "div": fields.divergence,
        "sigdot": velocity,
        "dlnpsdx": px[:, 0],
        "dlnpsdy": py[:, 0],
        "lnps": lnps[:, 0],
    }.items():
        expected = ref.grid(f"stepn_grid1_{name}")
        if expected.ndim == 3:
            expected = jnp.moveaxis(expected, 0, 1)
        table.field("grid fields", name, computed, expected)


def physics_tendency(
    ref: Reference, model: jcm.Model, parameters: object, previous: Prognostics,
    phis: jax.Array, table: Table,
) -> Tendency:  # fmt: skip
    """Return the tendency by the physics from the surface fields of the file."""
    sin_latitude = jnp.asarray(model.grid.sin_latitude)
    widths = model.physics.widths(parameters)
    year_fraction = jnp.asarray(ref.raw("stepn_tyear"))
    sun = insolation(
        year_fraction, sin_latitude, parameters=parameters.solar, widths=widths.radiation)
    for name, computed in {
        "fsol": sun.irradiance, "ozupp": sun.ozone_upper, "ozone": sun.ozone_lower,
        "zenit": sun.zenith_factor, "stratz": sun.polar_night_cooling,
    }.items():  # fmt: skip
        table.field("insolation", name, computed, ref.grid(f"stepn_{name}"))
    surface = lambda name: ref.grid(f"stepn_sfc_{name}")  # noqa: E731
    around = Surroundings(
        surface_geopotential=surface("phis0"),
        land_fraction=surface("fmask_l"),
        orographic_drag=orographic_drag_factor(
            surface("phis0"), parameters=parameters.surface_fluxes, constants=model.constants,
            widths=widths.surface),
        land_temperature=surface("stl_am"),
        sea_temperature=surface("sst_am"),
        soil_water=surface("soilw_am"),
        snow_cover=surface("snowc"),
        land_albedo=surface("alb_l"),
        sea_albedo=surface("alb_s"),
        albedo=surface("albsfc"),
        sin_latitude=sin_latitude,
        cos_latitude=jnp.asarray(model.grid.cos_latitude),
        year_fraction=year_fraction,
        year=jnp.asarray(1982.0),
    )  # fmt: skip
    ground = eqx.tree_at(
        lambda g: g.geopotential_spectrum, free_run(ref, model)[2], phis) if (
        "rest_phis" in ref) else _OnlyOrography(phis)  # fmt: skip
    columns = model.columns(previous, ground)
    held = model.physics.nothing_held(columns.temperature)
    return model.physics.tendencies(
        columns, around, held, jnp.asarray(True), parameters)[0]


class _OnlyOrography(eqx.Module):
    """Stands for the ground where the file has no boundary fields."""

    geopotential_spectrum: jax.Array


def free_run(ref: Reference, model: jcm.Model) -> tuple:
    """Return forcing, parameters and ground of the run from rest in the file."""
    forcing = jcm.Forcing(
        surface_geopotential=ref.grid("init_phi0"),
        land_fraction=ref.grid("init_fmask_l"),
        bare_albedo=ref.grid("init_alb0"),
        sea_surface_temperature=ref.grid("sst_clim"),
        sea_ice_fraction=ref.grid("sice_clim"),
        soil_temperature=ref.grid("stl_clim"),
        snow_depth=ref.grid("snowd_clim"),
        soil_water_availability=ref.grid("soilw_clim"),
        soil_layers=None,
        sea_surface_temperature_anomaly=ref.grid("ssta_init"),
        anomaly_first_month=jnp.asarray(12 * 1981 + 11),
        start_day=jnp.asarray(parse_date("1982-01-01")),
    )
    parameters = jcm.reference_parameters(model)
    widths = model.physics.widths(parameters)
    ground = model.coupler.ground(forcing, model.transform, parameters, widths)
    return forcing, parameters, ground


def compare_free_run(ref: Reference, model: jcm.Model, table: Table) -> None:
    """Compare the state of rest, the start-up, and the run that follows."""
    if "rest_vor" not in ref or "init_phi0" not in ref:
        for group in ("rest", "startup1", "startup2", "traj", "daily"):
            table.absent(group)
        return
    forcing, parameters, ground = free_run(ref, model)
    rest = rest_prognostics(model, ground)
    table.spectra("rest", rest, ref.prognostics("rest_{}"), bound=table.trajectory)
    state = start_state(model, parameters, forcing, rest, rest, step=-2)
    compare_start(ref, state, ground, table)

    @eqx.filter_jit
    def many(model, parameters, forcing, state, count):
        widths = model.physics.widths(parameters)
        ground = model.coupler.ground(forcing, model.transform, parameters, widths)
        step = lambda _, s: advance(model, ground, parameters, s)[0]  # noqa: E731
        return jax.lax.fori_loop(0, count, step, state)

    daily = list(ref.raw("day").astype(int)) if "daily_u" in ref else []
    if not daily:
        table.absent("daily")
    stops = {"startup1_out": -1, "startup2_out": 0}
    stops |= {n.removesuffix("_vor"): int(n[4:7]) for n in ref.dataset
              if n.startswith("traj") and n.endswith("_vor")}  # fmt: skip
    if table.dtype == "float32":  # later ones are noise; the daily fields tell its size
        stops = {label: step for label, step in stops.items() if step <= 1}
    targets = {step: [label] for label, step in stops.items() if f"{label}_vor" in ref}
    for index, day in enumerate(daily):
        targets.setdefault(day * model.steps_per_day, []).append(index)
    for step in sorted(targets):
        state = many(model, parameters, forcing, state, jnp.asarray(step - int(state.step)))
        for label in targets[step]:
            if isinstance(label, str):
                compare_levels(ref, label, state, table)
            elif step > 0:
                compare_daily(ref, model, label, daily[label], state, ground, table)


def compare_levels(ref: Reference, label: str, state: jcm.State, table: Table) -> None:
    """Compare both time levels."""
    for level, computed in enumerate((state.previous, state.current)):
        table.spectra(
            f"{label}, time level {level}", computed, ref.prognostics(label + "_{}", level),
            bound=table.trajectory, without_mean=True)  # fmt: skip


def compare_start(ref: Reference, state: jcm.State, ground: object, table: Table) -> None:
    """Compare the surface at the start."""
    for name, computed in {
        "rest_phis0": ground.surface_geopotential,
        "init_forog": ground.orographic_drag,
        "init_fmask_s": ground.sea_fraction,
        "init_stl_lm": state.surface.land_temperature,
        "init_sst_am": state.surface.sea_temperature,
        "init_sice_am": state.surface.ice_fraction,
        "init_tice_am": state.surface.ice_temperature,
        "init_alb_l": state.daily.land_albedo,
        "init_alb_s": state.daily.sea_albedo,
        "init_albsfc": state.daily.albedo,
        "init_snowc": state.daily.snow_cover,
    }.items():
        table.field("surface at the start", name, computed, ref.grid(name))
    for name, computed in {
        "rest_tcorh": ground.temperature_correction,
        "rest_qcorh": state.daily.humidity_correction,
    }.items():
        expected = np.asarray(ref.spectrum(name)) * table.inside
        table.field("surface at the start", name, computed * table.inside, expected)


def compare_daily(
    ref: Reference, model: jcm.Model, index: int, day: int, state: jcm.State, ground: object,
    table: Table,
) -> None:  # fmt: skip
    """Compare fields on the grid: area-weighted root mean square differences, humidity in g."""
    columns = model.columns(state.previous, ground)
    weight = model.grid.quadrature_weight / model.grid.quadrature_weight.sum()
    for name, computed in {
        "u": columns.eastward_wind,
        "v": columns.northward_wind,
        "t": columns.temperature,
        "q": columns.specific_humidity,
        "phi": columns.geopotential,
        "ps": columns.surface_pressure * model.constants.reference_pressure,
    }.items():
        error = np.square(np.asarray(computed) - np.asarray(ref.grid(f"daily_{name}")[index]))
        rmse = np.sqrt(np.mean(np.sum(error * weight, axis=-1)))
        in_units = rmse * (GRAMS if name == "q" else 1)
        table.add(f"day {day}, RMSE", name, in_units, DAILY[table.dtype][name])


def compare(path: Path, dtype: str = "float64") -> list[dict]:
    """Return the rows of the comparison; the precision of JAX must be that of `dtype`."""
    with xr.open_dataset(path, decode_times=False) as dataset:
        ref = Reference(dataset.load())
    truncation = ref.dataset.sizes["m"] - 1
    model = jcm.build_model(f"T{truncation}L{ref.dataset.sizes['level']}", preset="speedy_f90")
    table = Table(model, dtype)
    compare_stages(ref, model, table)
    compare_free_run(ref, model, table)
    return table.rows


def main() -> int:
    """Print the table and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--json", type=Path, help="write the table here as well")
    parser.add_argument("--dtype", choices=list(BOUNDS), default="float64")
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", arguments.dtype == "float64")
    rows = compare(arguments.file, arguments.dtype)
    for row in rows:
        shown = "absent" if row["difference"] is None else (
            f"{row['difference']:9.1e}  bound {row['bound']:.0e}  "
            f"{'pass' if row['pass'] else 'FAIL'}")  # fmt: skip
        print(f"{row['stage']:28s} {row['variable']:12s} {shown}")
    passed = sum(row["pass"] for row in rows)
    print(f"{passed} of {len(rows)} comparisons within their bounds")
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"comparisons": rows, "passed": passed == len(rows)}, indent=1))
    return 0 if passed == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
