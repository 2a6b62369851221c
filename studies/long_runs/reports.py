"""Trends of annual means, and the tables of the long runs."""

from typing import Any

import numpy as np
from scipy.stats import linregress

#: Years of a trend.
YEARS = 20
#: A trend passes within three standard errors of 0, or below a size per decade that is nothing
#: beside the spread among years; the sizes are chosen here.
ERRORS = 3.0
TRENDS = {
    "toa_net_W_m-2": 0.1,
    "near_surface_temperature_K": 0.05,
    "air_temperature_K": 0.05,
    "water_kg_m-2": 0.05,
    "surface_pressure_Pa": 5.0,
    "precipitation_mm_day-1": 0.01,
    "kinetic_energy_MJ_m-2": 0.005,
}


def annual_means(rows: list[dict[str, float]]) -> dict[str, np.ndarray]:
    """Return the means of whole years of monthly rows, weighted with the lengths of the months."""
    count = len(rows) // 12
    day = np.array([row["day"] for row in rows])
    length = np.diff(day, prepend=0)[: 12 * count].reshape(count, 12)
    monthly = {name: np.array([row[name] for row in rows])[: 12 * count].reshape(count, 12)
               for name in rows[0]}  # fmt: skip
    monthly["toa_net_W_m-2"] = (
        monthly["absorbed_sunlight_W_m-2"] - monthly["outgoing_longwave_W_m-2"])
    return {name: (x * length).sum(axis=1) / length.sum(axis=1) for name, x in monthly.items()}


def trends(annual: dict[str, np.ndarray]) -> dict[str, dict]:
    """Return the linear trend of the last twenty years by least squares, per decade."""
    found = {}
    for name, negligible in TRENDS.items():
        series = annual[name][-YEARS:]
        fit: Any = linregress(np.arange(len(series)), series)
        slope, error = 10 * float(fit.slope), 10 * float(fit.stderr)
        fine = abs(slope) <= max(ERRORS * error, negligible)
        found[name] = {
            "mean": float(series.mean()), "standard_deviation": float(series.std(ddof=1)),
            "per_decade": slope, "standard_error": error, "negligible": negligible,
            "verdict": "PASS" if fine else "FAIL",
        }  # fmt: skip
    return found


def case_table(cases: dict[str, dict]) -> str:
    """Return runs as Markdown: survival and speed, means, trends."""
    lines = ["| case | model | step, s | days | finite | strongest wind, m s-1 | mass, Pa "
             "| years per day | |", "| --- " * 9 + "|"]  # fmt: skip
    for name, c in cases.items():
        lines.append(
            f"| {name} | {c['model']} {c['dynamics']} | {c['time_step']:.0f} | {c['days']:.0f} | "
            f"{'yes' if c['finite'] else 'NO'} | {c['strongest_wind_m_s-1']:.0f} | "
            f"{c['surface_pressure_change_Pa']:+.1f} | {c['simulated_years_per_day']:.0f} | "
            f"{'PASS' if c['passed'] else 'FAIL'} |")
    lines += ["", "Global means of the second half of each run:", ""]
    means = {name: c["means_of_the_second_half"] for name, c in cases.items()}
    lines += ["| | " + " | ".join(means) + " |", "| --- " * (len(means) + 1) + "|"]
    for quantity in next(iter(means.values())):
        lines.append(f"| {quantity} | " + " | ".join(
            f"{m[quantity]:.6g}" for m in means.values()) + " |")
    for name, c in cases.items():
        if "trends_of_the_last_20_years" in c:
            lines += ["", f"Trends of the last {YEARS} years of {name}:", "",
                      "| | mean | standard deviation of years | per decade | +- | |",
                      "| --- " * 6 + "|"]  # fmt: skip
            lines += [
                f"| {k} | {t['mean']:.6g} | {t['standard_deviation']:.2g} | "
                f"{t['per_decade']:+.2g} | {t['standard_error']:.1g} | {t['verdict']} |"
                for k, t in c["trends_of_the_last_20_years"].items()]
    return "\n".join(lines) + "\n"
