"""Column heating of the physics on sixteen layers beside that on SPEEDY's eight.

The columns are those of `tests/reference/columns.nc`. Every SPEEDY layer is split in two halves of
equal mass, with the same values (`split`), values interpolated linearly in ln(sigma) and shifted to
the mean of the layer (`means_kept`), or interpolated ones as they are (`interpolated`). The model
averages such columns to eight layers before the physics sees them; `direct` is a control that it
never runs: the schemes themselves on sixteen layers.
"""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from jcm.constants import DAY, EARTH
from jcm.initial import reference_parameters
from jcm.model import build_model
from jcm.physics import Fields, Physics, Surroundings
from jcm.physics.reference_layers import ReferenceLayers
from jcm.physics.speedy import SpeedyPhysics
from jcm.state import Columns, Tendency
from jcm.vertical import Levels, speedy_levels

REFERENCE = Path(__file__).parents[2] / "tests" / "reference" / "columns.nc"
GRAMS = 1e3
#: Largest difference of the mean heating of a scheme that counts as the same [1].
TOLERANCE = 0.2
#: Ways to make sixteen layers of eight, and those whose layers keep their means.
VARIANTS = ("split", "means_kept", "interpolated", "direct")
JUDGED = ("split", "means_kept")
#: Surroundings -> name in the file.
AROUND = {
    "surface_geopotential": "phis0", "land_fraction": "fmask", "orographic_drag": "forog",
    "land_temperature": "stl_am", "sea_temperature": "sst_am", "soil_water": "soilw_am",
    "snow_cover": "snowc", "land_albedo": "alb_l", "sea_albedo": "alb_s", "albedo": "albsfc",
    "sin_latitude": "sin_lat", "cos_latitude": "cos_lat", "year_fraction": "tyear",
}  # fmt: skip


def split_levels() -> Levels:
    """Return sixteen layers: each of SPEEDY's cut in two of equal thickness."""
    half = np.array(speedy_levels().half)
    return Levels(tuple(np.sort(np.concatenate([half, (half[1:] + half[:-1]) / 2]))))


def read_columns(path: Path = REFERENCE) -> tuple[Columns, dict[str, jax.Array], np.ndarray]:
    """Return columns, surroundings and the reference heating [K s-1]; sample is the last axis.

    The surroundings of all columns are a dictionary, because each column has its own date.
    """
    with xr.open_dataset(path) as file:
        get = lambda name: jnp.asarray(np.moveaxis(file[name].values, 0, -1))  # noqa: E731
        columns = Columns(
            get("u"), get("v"), get("t"), get("q_raw") / GRAMS, get("phi"), get("ps"))
        around = {ours: get(theirs) for ours, theirs in AROUND.items()}
        year = file["date_year"].values[file["sample_date"].values]
        around["year"] = jnp.asarray(year, around["year_fraction"].dtype)
        return columns, around, np.moveaxis(file["tt_phy"].values, 0, -1)


def split(columns: Columns) -> Columns:
    """Return sixteen layers, both halves of a layer with its values."""
    return jax.tree.map(lambda x: x if x.ndim == 1 else jnp.repeat(x, 2, axis=0), columns)


def interpolated(columns: Columns) -> Columns:
    """Return sixteen layers, linear in ln(sigma) between the centres and beyond the outer ones."""
    old, new = np.log(speedy_levels().centre), np.log(split_levels().centre)
    above = np.clip(np.searchsorted(old, new) - 1, 0, len(old) - 2)
    weight = ((new - old[above]) / (old[above + 1] - old[above]))[:, None]
    return jax.tree.map(
        lambda x: x if x.ndim == 1 else x[above] + weight * (x[above + 1] - x[above]), columns)


def means_kept(columns: Columns) -> Columns:
    """Return the interpolated layers, shifted so that the mean of both halves is the old value."""
    finer = interpolated(columns)
    return jax.tree.map(
        lambda x, y: x if x.ndim == 1 else x + jnp.repeat(y - (x[::2] + x[1::2]) / 2, 2, axis=0),
        finer, columns)  # fmt: skip


@eqx.filter_jit
def run_physics(
    physics: Physics, columns: Columns, around: dict[str, jax.Array], parameters: Any
) -> tuple[Tendency, Fields]:
    """Return the tendencies and diagnostics of every column by itself."""

    def one(columns: Columns, around: dict[str, jax.Array]) -> tuple[Tendency, Fields]:
        held = physics.nothing_held(columns.temperature)
        tendency, _, _, fields = physics.tendencies(
            columns, Surroundings(**around), held, jnp.asarray(True), parameters)
        return tendency, fields

    return jax.vmap(one, in_axes=-1, out_axes=-1)(columns, around)


def column_heating(
    levels: Levels, columns: Columns, tendency: Tendency, fields: Fields
) -> dict[str, np.ndarray]:
    """Return the heating of a column by every scheme, and by all together [W m-2]."""
    f = {name: np.asarray(x, float) for name, x in fields.items()}
    mass = np.asarray(columns.surface_pressure) * EARTH.reference_pressure / EARTH.gravity
    total = EARTH.heat_capacity * mass * np.einsum(
        "k,kc->c", levels.thickness, np.asarray(tendency.temperature, float))
    return {
        "convection": EARTH.latent_heat * f["convective_precipitation_flux"],
        "large-scale condensation": EARTH.latent_heat * f["large_scale_precipitation_flux"],
        "shortwave radiation": (
            f["toa_net_downward_shortwave_flux"] - f["surface_net_downward_shortwave_flux"]),
        "longwave radiation": (
            -f["toa_outgoing_longwave_flux"] - f["surface_net_downward_longwave_flux"]),
        "sensible heat flux": f["surface_upward_sensible_heat_flux"],
        "all schemes": total,
    }  # fmt: skip


def compare(preset: str = "speedy_f90") -> dict:
    """Return the mean heating of every scheme on eight and on sixteen layers, with verdicts."""
    model = build_model("T21L8", preset=preset)
    parameters, sixteen = reference_parameters(model), split_levels()
    columns, around, reference = read_columns()
    wrapped = ReferenceLayers(model.physics, sixteen)
    direct = SpeedyPhysics(
        levels=sixteen, constants=model.constants, options=model.options, smooth=False)
    runs = {
        "eight": (model.physics, model.levels, columns),
        "split": (wrapped, sixteen, split(columns)),
        "means_kept": (wrapped, sixteen, means_kept(columns)),
        "interpolated": (wrapped, sixteen, interpolated(columns)),
        "direct": (direct, sixteen, means_kept(columns)),
    }  # fmt: skip
    heating, deep, rate = {}, {}, {}
    for name, (physics, levels, column) in runs.items():
        tendency, fields = run_physics(physics, column, around, parameters)
        heating[name] = column_heating(levels, column, tendency, fields)
        deep[name] = np.asarray(fields["deep_convection_frequency"]) > 0.5
        # Halves have equal mass: their mean is that of the layer.
        t = np.asarray(tendency.temperature, float)
        rate[name] = t if len(t) == 8 else (t[::2] + t[1::2]) / 2
    rms = lambda x: float(np.sqrt(np.mean(np.square(x))) * DAY)  # noqa: E731
    water = lambda levels, c: np.einsum(  # noqa: E731
        "k,kc->c", levels.thickness, np.maximum(c.specific_humidity, 0))
    rows = {scheme: differences(heating, scheme) for scheme in heating["eight"]}
    return {
        "columns": len(deep["eight"]),
        "columns_with_convection": int(deep["eight"].sum()),
        "columns_where_convection_switches": {
            name: int(np.sum(deep[name] != deep["eight"])) for name in VARIANTS},
        "water_added_by_interpolation": float(
            water(sixteen, interpolated(columns)).mean()
            / water(model.levels, columns).mean() - 1),
        "eight_layers_against_the_reference_code_K_per_day": rms(rate["eight"] - reference),
        "rms_temperature_tendency_K_per_day": rms(rate["eight"]),
        "rms_difference_K_per_day": {
            name: rms(rate[name] - rate["eight"]) for name in VARIANTS},
        "tolerance": TOLERANCE,
        "passed": all(row["verdict"] == "PASS" for row in rows.values()),
        "schemes": rows,
    }  # fmt: skip


def differences(heating: dict[str, dict[str, np.ndarray]], scheme: str) -> dict:
    """Return the mean heating by a scheme, and differences over its mean size on eight layers."""
    eight = heating["eight"][scheme]
    scale = float(np.mean(np.abs(eight)))
    row: dict = {"mean_W_m-2": float(np.mean(eight)), "mean_size_W_m-2": scale}
    for name in VARIANTS:
        off = heating[name][scheme] - eight
        row[name] = {"of_the_mean": float(np.mean(off)) / scale,
                     "of_each_column": float(np.mean(np.abs(off))) / scale}  # fmt: skip
    worst = max(row[name]["of_each_column"] for name in JUDGED)
    return row | {"verdict": "PASS" if worst <= TOLERANCE else "FAIL"}


def table(summary: dict) -> str:
    """Return the comparison as Markdown."""
    s = summary
    switched = s["columns_where_convection_switches"]
    lines = [
        f"{s['columns']} columns, {s['columns_with_convection']} with deep convection. Plain "
        f"interpolation adds {s['water_added_by_interpolation']:.1%} of water and switches "
        f"convection in {switched['interpolated']} columns. Differences of the column heating "
        "from that on eight layers, over its mean size: of the mean over all columns, and mean "
        "size over columns. The verdict is that of the columns with the same layer means.",
        "",
        "| scheme | eight layers, W m-2 | split | interpolated, means kept | interpolated: mean "
        "| each column | direct: mean | each column | |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in s["schemes"].items():
        plain, direct = row["interpolated"], row["direct"]
        lines.append(
            f"| {name} | {row['mean_W_m-2']:.1f} | {row['split']['of_each_column']:.0e} | "
            f"{row['means_kept']['of_each_column']:.0e} | {plain['of_the_mean']:+.1%} | "
            f"{plain['of_each_column']:.1%} | {direct['of_the_mean']:+.0%} | "
            f"{direct['of_each_column']:.0%} | {row['verdict']} |")
    rms = s["rms_difference_K_per_day"]
    lines.append(
        f"| temperature tendency, K day-1, rms | {s['rms_temperature_tendency_K_per_day']:.2f} | "
        f"{rms['split']:.0e} | {rms['means_kept']:.0e} | | {rms['interpolated']:.2f} | | "
        f"{rms['direct']:.2f} | |")
    return "\n".join(lines) + "\n"
