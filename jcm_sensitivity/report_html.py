"""The certificate of a model as one page of HTML that needs nothing else.

`write_html(certificate, path)` writes counts of verdicts, a matrix of all inputs, targets and
horizons, the details of each cell, and Taylor plots. Style, script and figures are inside of the
file; it opens from a disk, years later. Names and texts come from outside and are escaped:
`html.escape` in the page, and `<` as an escape sequence in the data for the script.
"""

import html
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jcm.files import write_text
from jcm_sensitivity.report_html_figures import taylor_figure
from jcm_sensitivity.report_html_style import SCRIPT, STYLE

#: Symbol of each verdict, and what it means.
LEGEND: dict[str, tuple[str, str]] = {
    "pass": ("\u2713", (
        "The gradient by automatic differentiation (AD) equals the finite difference (FD) of two "
        "perturbed runs. Use it as it is.")),
    "kink": ("K", (
        "The gradient is right for the branch that the model took, but the model has a corner "
        "here, for example rain that just sets in: a warmer and a colder run have different "
        "slopes. Small changes of both signs need two numbers.")),
    "jump": ("J", (
        "The gradient is right for the branch that the model took, but switches (convection on or "
        "off, the layer of a cloud top) change the result by finite amounts, which no gradient "
        "contains. Compare with perturbed runs before you use it for finite changes.")),
    "dead": ("D", (
        "The gradient is exactly 0: the input is not read, acts only through switches, or stands "
        "behind a limiter. The explanation says which.")),
    "noise floor": ("N", (
        "The effect is too small against the rounding of the model to be verified by differences. "
        "The gradient is bounded, and probably right, but not proven.")),
    "chaotic": ("C", (
        "The run is longer than the time in which weather forgets its initial state: small "
        "changes grow until the gradient predicts nothing. Shorten the run or use an ensemble.")),
    "wrong": ("W", (
        "The gradient disagrees with finite differences on the same branch. This is an error in "
        "the program: do not use this gradient.")),
    "not finite": ("!", (
        "The result or its gradient is infinite or not a number. Do not use this gradient.")),
}  # fmt: skip

REQUIRED = (
    "title", "model", "dtype", "version", "parameters_sha256", "created", "command", "tolerance",
    "horizons", "targets", "summary", "passed", "inputs", "cells")  # fmt: skip

#: Numbers of a cell in the panel of details.
SHOWN = {
    "ad": "gradient by AD", "fd": "finite difference", "fd_frozen": "the same, branches frozen",
    "error": "relative difference of AD and frozen FD"}  # fmt: skip


def write_html(certificate: Mapping[str, Any], path: str | Path) -> None:
    """Write the certificate of a model as one self-contained page.

    Parameters
    ----------
    certificate
        What `jcm-sensitivity check` writes as JSON: title, model, dtype, version,
        parameters_sha256, created, command, tolerance, horizons (name, steps), targets (name,
        description, units), summary (verdict -> count), passed, inputs (name, units, step_unit),
        and cells (input, target, horizon, verdict, explanation, ad, fd, fd_frozen, error, orders,
        flips, steps, r1, r2); optionally identity and random_directions.
    path
        File to write; it is replaced only when the page is complete.

    Raises
    ------
    ValueError
        If something is missing, or a cell names an input, target, horizon or verdict that is not
        listed.
    """
    missing = [name for name in REQUIRED if name not in certificate]
    if missing:
        raise ValueError(
            f"the certificate has no {', '.join(missing)}; give what `jcm-sensitivity check` wrote")
    _check_cells(certificate)
    write_text(Path(path), page(certificate))


def page(certificate: Mapping[str, Any]) -> str:
    """Return the page as text; see `write_html`."""
    c = certificate
    title = _text(c["title"])
    body = "\n".join([
        _head(c), _legend(c["summary"]), _filters(c), _targets(c["targets"]), _matrix(c),
        '<aside id="detail" aria-live="polite" hidden></aside>',
        _taylor(c), _identity(c.get("identity") or []),
        _random_directions(c.get("random_directions") or {}), _stamp(c)])  # fmt: skip
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n"
        f'<script type="application/json" id="data">{_data(c)}</script>\n'
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n")


def _check_cells(c: Mapping[str, Any]) -> None:
    known = {key: {x["name"] for x in c[key + "s"]} for key in ("input", "target", "horizon")}
    known["verdict"] = set(LEGEND)
    for cell in c["cells"]:
        for key, names in known.items():
            if cell[key] not in names:
                raise ValueError(
                    f"a cell names the {key} {cell[key]!r}, which is none of the {len(names)} of "
                    "the certificate; list it or leave the cell out")


def _text(x: Any) -> str:
    return html.escape(str(x), quote=True)


def _number(x: Any, digits: int = 4) -> str:
    if isinstance(x, bool) or not isinstance(x, int | float):
        return _text(x) if x is not None else "\u2013"
    return f"{x:.{digits}g}" if math.isfinite(x) else "not finite"


def _class(verdict: str) -> str:
    return "v-" + verdict.replace(" ", "-")


def _head(c: Mapping[str, Any]) -> str:
    summary, total = c["summary"], sum(c["summary"].values())
    headline = "passed" if c["passed"] else "FAILED"
    wrong = sum(summary.get(v, 0) for v in ("wrong", "not finite"))
    sentence = (
        f"{total} gradients were checked: each of {len(c['inputs'])} inputs for "
        f"{len(c['targets'])} targets over {len(c['horizons'])} lengths of the run. "
        f"{summary.get('pass', 0)} pass within {_number(c['tolerance'])} relative; "
        f"{wrong or 'none'} {'is' if wrong == 1 else 'are'} wrong or not finite; the others are "
        "limited by the model itself, for the reasons below.")
    facts = ", ".join(
        f"{_text(name)} {_text(c[key])}"
        for name, key in (("model", "model"), ("numbers", "dtype"), ("version", "version")))
    return (
        f"<header><h1>{_text(c['title'])}</h1>"
        f'<p class="result {"good" if c["passed"] else "bad"}">Certificate {headline}</p>'
        f"<p>{sentence}</p><p>{facts}; {_text(c['created'])}</p></header>")


def _legend(summary: Mapping[str, int]) -> str:
    rows = "".join(
        f'<tr><td class="{_class(verdict)} symbol">{symbol}</td><th scope="row">{verdict}</th>'
        f'<td class="number">{summary.get(verdict, 0)}</td><td>{_text(words)}</td></tr>'
        for verdict, (symbol, words) in LEGEND.items())
    return (
        '<section><h2>Verdicts</h2><table class="plain"><thead><tr><th></th><th>Verdict</th>'
        f"<th>Count</th><th>Meaning</th></tr></thead><tbody>{rows}</tbody></table></section>")


def _filters(c: Mapping[str, Any]) -> str:
    boxes = "".join(
        f'<label class="{_class(verdict)}"><input type="checkbox" name="verdict" '
        f'value="{verdict}" checked> {symbol} {verdict} ({c["summary"].get(verdict, 0)})</label>'
        for verdict, (symbol, _) in LEGEND.items() if c["summary"].get(verdict, 0))
    return (
        "<section><h2>All gradients</h2><p>A row is an input, a column a target after a length of "
        "the run. Choose a cell to see its numbers.</p>"
        f'<form id="filter" onsubmit="return false">{boxes}<label>Input or target contains '
        '<input type="search" id="text" autocomplete="off"></label>'
        '<output id="shown"></output></form></section>')


def _targets(targets: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        {"target": x["name"], "meaning": x.get("description") or "", "unit": x.get("units") or ""}
        for x in targets]
    return f"<details><summary>What the targets are</summary>{_table(rows)}</details>"


def _matrix(c: Mapping[str, Any]) -> str:
    place = {(x["input"], x["target"], x["horizon"]): k for k, x in enumerate(c["cells"])}
    targets, horizons = c["targets"], c["horizons"]
    groups = "".join(
        f'<th colspan="{len(horizons)}" scope="colgroup" title="{_text(t.get("description", ""))} '
        f'[{_text(t.get("units", ""))}]" data-target="{k}">{_text(t["name"])}</th>'
        for k, t in enumerate(targets))
    names = "".join(
        f'<th scope="col"{_first(k)} data-target="{j}">{_text(h["name"])}</th>'
        for j, _ in enumerate(targets) for k, h in enumerate(horizons))
    rows = []
    for x in c["inputs"]:
        cells = "".join(
            _cell(c, place.get((x["name"], t["name"], h["name"])), j, k)
            for j, t in enumerate(targets) for k, h in enumerate(horizons))
        step = f"a step of 1 is {x['step_unit']}" if x.get("step_unit") else ""
        rows.append(
            f'<tr data-name="{_text(x["name"].lower())}"><th scope="row" title="{_text(step)}">'
            f'{_text(x["name"])} <span class="units">{_text(x.get("units", ""))}</span></th>'
            f"{cells}</tr>")
    return (
        '<div class="scroll"><table id="matrix"><thead><tr><th rowspan="2">Input</th>'
        f'{groups}</tr><tr>{names}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>')


def _first(k: int) -> str:
    return ' class="first"' if k == 0 else ""


def _cell(c: Mapping[str, Any], number: int | None, target: int, horizon: int) -> str:
    if number is None:
        return f'<td{_first(horizon)} data-target="{target}">\u2013</td>'
    x = c["cells"][number]
    label = f"{x['input']}, {x['target']}, {x['horizon']}: {x['verdict']}"
    return (
        f'<td{_first(horizon)} data-target="{target}"><button class="{_class(x["verdict"])}" '
        f'data-cell="{number}" title="{_text(label)}" aria-label="{_text(label)}">'
        f'{LEGEND[x["verdict"]][0]}</button></td>')


def _taylor(c: Mapping[str, Any]) -> str:
    figures = []
    for horizon in c["horizons"]:
        cells = [x for x in c["cells"] if x["horizon"] == horizon["name"]]
        image = taylor_figure(cells)
        name = _text(horizon["name"])
        steps = horizon.get("steps")
        length = "" if steps is None else f": {steps} time step{'' if steps == 1 else 's'}"
        if image is None:
            figures.append(f"<p>{name}: no cell has remainders to show.</p>")
            continue
        figures.append(
            f"<figure><figcaption>{name}{_text(length)}</figcaption>"
            f'<img src="data:image/svg+xml;base64,{image}" alt="Taylor remainders against the '
            f'step after {name}"></figure>')
    return (
        "<section><h2>Taylor remainders</h2><p>What is left of the change of a target after the "
        "first (R1) and the second (R2) term of its Taylor series, over the slope, against the "
        "size of the step. Where the model is smooth and the gradient right, R1 falls with the "
        "square of the step and R2 with its cube, down to the rounding of the model. A remainder "
        "that falls with the step itself shows a wrong derivative or a corner.</p>"
        f'{"".join(figures)}</section>')


def _identity(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    return (
        "<section><h2>Forward against reverse mode</h2><p>Both modes of differentiation compute "
        "the same number in different orders: |&lt;Jv, w&gt; - &lt;v, J'w&gt;| / &lt;Jv, Jv&gt; "
        f"with w = Jv.</p>{_table(rows)}</section>")


def _random_directions(values: Mapping[str, Any]) -> str:
    if not values:
        return ""
    rows = [{"": name.replace("_", " "), "value": x} for name, x in values.items()]
    return (
        "<section><h2>Random directions</h2><p>All inputs changed at once, in random proportions, "
        f"with branches frozen.</p>{_table(rows)}</section>")


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{_text(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{_number(row.get(name))}</td>" for name in names) + "</tr>"
        for row in rows)
    return f'<table class="plain"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _stamp(c: Mapping[str, Any]) -> str:
    facts = {
        "version": c["version"], "SHA-256 of the parameters": c["parameters_sha256"],
        "created": c["created"], "command": c["command"], "tolerance": c["tolerance"]}  # fmt: skip
    items = "".join(
        f"<dt>{_text(name)}</dt><dd><code>{_text(x)}</code></dd>" for name, x in facts.items())
    return f"<footer><h2>Stamp</h2><dl>{items}</dl></footer>"


def _data(c: Mapping[str, Any]) -> str:
    """Return what the script needs as JSON that cannot end the element it stands in."""
    units = {x["name"]: x for x in c["inputs"]}
    described = {x["name"]: x for x in c["targets"]}
    cells = [
        {
            "name": f"{x['input']} \u2192 {x['target']}, {x['horizon']}",
            "verdict": x["verdict"], "explanation": x.get("explanation") or "",
            "numbers": [_number(x.get(key), 8) for key in SHOWN],
            "orders": [_number(r, 3) for r in x.get("orders") or [None] * 3],
            "flips": [str(flip) for flip in x.get("flips") or [] if flip],
            **{key: _rounded(x.get(key)) for key in ("steps", "r1", "r2")},
            "step": units[x["input"]].get("step_unit") or "",
            "units": described[x["target"]].get("units") or "",
        }
        for x in c["cells"]]  # fmt: skip
    text = json.dumps(
        {"shown": list(SHOWN.values()), "cells": cells}, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _rounded(numbers: Sequence[float | None] | None) -> list[float | None]:
    return [
        float(f"{x:.3g}") if x is not None and math.isfinite(x) else None for x in numbers or []]
