"""Tables of a comparison as markdown and CSV."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from climate import FIELDS
from compare import ALLOWED, KINDS

from jcm.files import replacing


def number(value: Any) -> str:
    """Return a number with four digits, a word for truth, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


def markdown(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *([number(x) for x in line] for line in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def reference_report(summary: dict[str, Any]) -> str:
    """Return all tables of a comparison with the reference code."""
    short = summary["ringing"]
    text = [
        f"# {summary['name']}: {summary['years']} years beside {summary['reference_years']} of "
        f"the reference\n",
        f"Reference: `{summary['reference']}`. Noise is the difference expected between two "
        "samples of one climate with these numbers of years; it comes from two halves of the "
        f"reference. A field passes up to {ALLOWED} times the noise.\n",
        "## Annual zonal means that are judged\n",
        markdown(
            ["field", "units", "latitudes", "rmse", "noise", "ratio", "noise from the model's "
             "years", "passes"],
            ([name, FIELDS[name].units, f"{line['latitude']:g}S-{line['latitude']:g}N",
              line["rmse"], line["noise"], line["ratio"], line.get("noise_from_years"),
              line["passes"]] for name, line in summary["judged"].items())),
        f"Short waves (wavenumbers {short['wavenumbers'][0]}-{short['wavenumbers'][1]}) in annual "
        f"precipitation over sea: power {number(short['ratio'])} of the reference, allowed "
        f"{short['limit']}: passes {number(short['passes'])}.\n",
        "## Budgets\n",
        markdown(
            ["", "model", "reference"],
            ([key, summary["budget"]["model"][key], summary["budget"]["reference"][key]]
             for key in summary["budget"]["model"])),
        "## Global means\n",
        markdown(
            ["field", "units", "model", "reference", "difference"],
            ([name, *line.values()] for name, line in summary["global_means"].items())),
        "## Root-mean-square differences, noise, ratio\n",
        markdown(
            ["field", "units", *(f"{kind}{what}" for kind in KINDS
                                 for what in ("", ": noise", ": ratio"))],
            ([name, FIELDS[name].units, *(line[kind][key] for kind in KINDS
                                          for key in ("rmse", "noise", "ratio"))]
             for name, line in summary["rmse"].items())),
    ]  # fmt: skip
    return "\n".join(text)


def write_csv(summary: dict[str, Any], path: Path) -> None:
    """Write the table of differences."""
    keys = ("rmse", "noise", "ratio", "passes")
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["field", "units", "kind", *keys])
        for name, line in summary["rmse"].items():
            for kind in KINDS:
                writer.writerow(
                    [name, FIELDS[name].units, kind,
                     *(f"{v:.6g}" if isinstance(v := line[kind][k], float) else v for k in keys)])
