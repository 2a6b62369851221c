"""The report of a calibration as one page of HTML that needs nothing else.

`write_report(directory)` builds it from the files that `records` defines. What is not there is
named on the page with the command that makes it. A parameter that the data do not decide is shown
with the width of its prior, never as a value. Texts come from outside and are escaped.
"""

import html
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jcm.files import write_text
from jcm.provenance import git_state, package_version
from jcm_calibrate.performance_index import INTERANNUAL
from jcm_calibrate.reports import records
from jcm_calibrate.reports.plots import (
    plot_bias,
    plot_loss,
    plot_predictive,
    plot_spectrum,
    plot_traces,
)
from jcm_calibrate.reports.plots_posterior import (
    MOST_PAIRS,
    numbers,
    plot_pairs,
    plot_ranks,
    titles,
)
from jcm_calibrate.reports.plots_style import inline
from jcm_calibrate.uncertainty import diagnostics
from jcm_calibrate.uncertainty.inference_data import InferenceData
from jcm_sensitivity.report_html_style import STYLE

#: What the style of the certificates does not have.
MORE_STYLE = """
.weak { background: #fbe3a2; padding: 0 .3rem; border-radius: .2rem; }
pre { background: #f4f5f7; padding: .6rem .8rem; overflow: auto; font-size: 13px; }
nav a { margin-right: 1rem; } td.number { white-space: nowrap; }
"""
REPORT = "report.html"
#: R-hat and bulk sample size of draws that may be trusted: Vehtari and others (2021).
RHAT, ESS = 1.01, 400

Section = tuple[str, str]


def write_report(directory: str | Path, path: str | Path | None = None) -> Path:
    """Write the report of an experiment from the files in its folder.

    Parameters
    ----------
    directory
        Folder with `fit.json`, and what else there is of the files in `records`.
    path
        File to write, replaced only when the page is complete; default `report.html` beside them.

    Raises
    ------
    FileNotFoundError
        If there is neither a fit nor an analysis of identifiability nor a posterior.
    ValueError
        If a file is damaged; the message names it.
    """
    directory = Path(directory)
    path = directory / REPORT if path is None else Path(path)
    if not any((directory / x).is_file()
               for x in (records.FIT, records.IDENTIFY, records.POSTERIOR)):  # fmt: skip
        raise FileNotFoundError(
            f"nothing to report: {str(directory)!r} has none of {records.FIT}, {records.IDENTIFY}, "
            f"{records.POSTERIOR}; run `jcm-calibrate fit`, `identify` or `sample` with this "
            "--output first")
    write_text(path, page(directory))
    return path


def page(directory: Path) -> str:
    """Return the page as text; see `write_report`."""
    fit = _read(records.read_fit, directory)
    sections: list[Section] = [
        ("Parameters", _parameters(fit)),
        ("Course of the fit", _course(directory)),
        ("What the data decide", _identifiability(directory)),
        ("Posterior", _posterior(directory)),
        ("Observations", _observations(fit)),
        ("Data before and after", _predictions(directory)),
        ("Bias maps", _bias_maps(directory)),
        ("Performance index", _index(directory)),
        ("Experiment", _experiment(directory)),
        ("Cost and provenance", _stamp(fit)),
    ]
    title = text(fit.title if fit else "Calibration")
    links = "".join(f'<a href="#s{k}">{text(name)}</a>' for k, (name, _) in enumerate(sections))
    body = "\n".join(
        f'<section id="s{k}"><h2>{text(name)}</h2>{content}</section>'
        for k, (name, content) in enumerate(sections))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}{MORE_STYLE}</style>\n</head>\n<body>\n"
        f"<header><h1>{title}</h1>{_head(fit)}</header>\n<nav>{links}</nav>\n{body}\n"
        "</body>\n</html>\n")


def text(x: Any) -> str:
    """Return a text escaped for HTML."""
    return html.escape(str(x), quote=True)


def number(x: Any, digits: int = 4) -> str:
    """Return a number as the page shows it, a dash for None; other things as text."""
    if x is None:
        return "\u2013"
    if isinstance(x, bool) or not isinstance(x, int | float | np.number):
        return text(x)
    if not math.isfinite(x):
        return "not finite"
    if 1e4 <= abs(x) < 1e6:
        # Where `g` would begin to write powers of ten.
        return np.format_float_positional(
            float(x), precision=digits, fractional=False, trim="-")
    return f"{x:.{digits}g}"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as a table; values that start with `<span` are HTML already."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{text(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(_cell(row.get(name)) for name in names) + "</tr>" for row in rows)
    return f'<table class="plain"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


class Markup(str):
    """A text that is HTML already."""


def _cell(x: Any) -> str:
    if isinstance(x, Markup):
        return f"<td>{x}</td>"
    css = ' class="number"' if isinstance(x, int | float | np.number) else ""
    return f"<td{css}>{number(x)}</td>"


def _read(reader: Callable[..., Any], *arguments: Any) -> Any:
    """Return what is there, None if it is not; a damaged file raises."""
    try:
        return reader(*arguments)
    except FileNotFoundError:
        return None


def _missing(what: str, command: str) -> str:
    return f"<p>No {what}: run <code>{text(command)}</code>.</p>"


def _figure(figure: Any, words: str) -> str:
    return f"<figure>{inline(figure, text(words))}<figcaption>{text(words)}</figcaption></figure>"


def _head(fit: records.FitRecord | None) -> str:
    if fit is None:
        return "<p>No fit yet.</p>"
    unknown = [p.name for p in fit.parameters if p.identified is False]
    values = f" The objective went from {number(fit.start_value)} to {number(fit.value)}."
    weak = "" if not unknown else (
        f" {len(unknown)} of {len(fit.parameters)} parameters are not decided by these data.")
    result = "converged" if fit.converged else "not converged"
    return (
        f'<p class="result {"good" if fit.converged else "bad"}">{text(fit.method)}: {result}</p>'
        f"<p>{text(_sentence(fit.message))}{values}{weak}</p>")


def _sentence(words: str) -> str:
    """Return a message with a capital letter and a full stop."""
    return f"{words[:1].upper()}{words[1:].rstrip('.')}." if words else ""


def _parameters(fit: records.FitRecord | None) -> str:
    if fit is None:
        return _missing("fit", "jcm-calibrate fit")
    return (
        "<p>Reference: the model as it was. Prior: 5 %, 50 % and 95 % quantiles. Estimate with the "
        "5 % and 95 % quantiles of the posterior where they were computed. Where the data say "
        "less than the prior there is no estimate: the prior is shown instead.</p>"
        + table([_parameter(p) for p in fit.parameters])
        + "<details><summary>Sources of the reference values and bounds</summary>"
        + table([{"parameter": p.name, "source": p.source} for p in fit.parameters])
        + "</details>")


def _parameter(p: records.ParameterRecord) -> dict[str, Any]:
    low, middle, high = p.prior
    estimate: Any = p.estimate
    span = "\u2013" if p.interval is None else " to ".join(number(x) for x in p.interval)
    if p.identified is False:
        estimate = Markup('<span class="weak">not identified</span>')
        span = f"prior: {number(low)} to {number(high)}"
    bounds = "\u2013" if p.bounds == (None, None) else " to ".join(number(x) for x in p.bounds)
    return {
        "parameter": p.name, "units": p.units, "reference": p.reference,
        "prior 5 %, 50 %, 95 %": f"{number(low)}, {number(middle)}, {number(high)}",
        "bounds": bounds, "estimate": estimate, "5 % to 95 %": span,
        "posterior / prior width": p.width}


def _course(directory: Path) -> str:
    found = _read(records.read_history, directory)
    if found is None:
        return _missing("evaluations", "jcm-calibrate fit")
    history, labels = found
    return _figure(plot_loss({"fit": history}), "Objective against cost.") + _figure(
        plot_traces(history, labels),
        "Parameters against evaluations; grey: one standard deviation of the prior.")


def _identifiability(directory: Path) -> str:
    facts = _read(records.read_identifiability, directory)
    if facts is None:
        return _missing("analysis", "jcm-calibrate identify")
    labels, values = facts["labels"], np.asarray(facts["eigenvalues"], float)
    parts = [
        "<p>Directions of the parameters in units of their priors. An eigenvalue above 1 means "
        "that the data say more than the prior; below it an estimate would be the prior again."
        "</p>",
        _figure(plot_spectrum(values, facts["directions"], labels), "Identifiability spectrum.")]
    widths = 1 / np.sqrt(1 + values)
    rows = [
        {"direction": _combination(vector, labels), "eigenvalue": value, "prior width": 1.0,
         "posterior width": width}
        for value, vector, width in zip(values, facts["directions"], widths, strict=True)
        if value <= 1]  # fmt: skip
    parts.append(
        "<h3>Directions that the data do not decide</h3>"
        + ("<p>None.</p>" if not rows else table(rows)))
    if facts.get("correlated"):
        parts.append("<h3>Parameters that are hardly told apart</h3>" + table([
            {"one": a, "other": b, "correlation": c} for a, b, c in facts["correlated"]]))
    return "".join(parts)


def _combination(vector: Sequence[float], labels: Sequence[str]) -> str:
    order = np.argsort(-np.abs(np.asarray(vector)))
    return " ".join(f"{vector[i]:+.2f} {labels[i]}" for i in order if abs(vector[i]) >= 0.1)


def _posterior(directory: Path) -> str:
    posterior = _read(records.read_posterior, directory)
    if posterior is None:
        return _missing("draws", "jcm-calibrate sample")
    group = posterior["posterior"].to_dataset()
    # z stands for the parameters; it is shown only where their values are not there.
    variables = [str(x) for x in group.data_vars if x != "z"] or ["z"]
    group = group[variables]
    names, draws = titles(group), numbers(group)
    # Chains that have not moved have no width to divide by.
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = diagnostics.shortest_interval(draws, 0.9).T
        statistics = {
            "mean": draws.mean((0, 1)), "standard deviation": draws.std((0, 1), ddof=1),
            "90 % from": low, "to": high, "R-hat": diagnostics.rhat(draws),
            "bulk ESS": diagnostics.ess_bulk(draws), "tail ESS": diagnostics.ess_tail(draws)}
    rows: list[dict[str, Any]] = [
        {"parameter": name} | {words: float(x[k]) for words, x in statistics.items()}
        for k, name in enumerate(names)]
    unknown = _not_identified(directory)
    for row in rows:
        if row["parameter"] in unknown:
            row["mean"] = Markup('<span class="weak">not identified</span>')
    parts = [_trust(posterior, statistics), table(rows)]
    if len(names) <= MOST_PAIRS:
        pairs = plot_pairs(draws.reshape(-1, len(names)), names)
        parts.append(_figure(pairs, "Marginals and pairs."))
    parts.append(_figure(
        plot_ranks(posterior, variables), "Ranks by chain: level where chains have mixed."))
    return "".join(parts)


def _not_identified(directory: Path) -> set[str]:
    """Return the names of the parameters that the data do not decide, as far as that is known."""
    fit = _read(records.read_fit, directory)
    names = {p.name for p in fit.parameters if p.identified is False} if fit else set()
    facts = _read(records.read_identifiability, directory) or {}
    return names | {
        name for name, known in zip(
            facts.get("labels", ()), facts.get("identified", ()), strict=False)
        if not known}


def _trust(posterior: InferenceData, statistics: Mapping[str, np.ndarray]) -> str:
    """Say how many draws there are, and what speaks against trusting them."""
    sizes = posterior["posterior"].sizes
    chains, count = sizes["chain"], sizes["draw"]
    found = [f"{chains} chains of {count} draws."]
    if "sample_stats" in posterior.children and "diverging" in posterior["sample_stats"]:
        share = 100 * float(posterior["sample_stats"]["diverging"].mean())
        found.append(f"{share:.2g} % of the transitions diverged.")
    rhat, ess = statistics["R-hat"].max(), statistics["bulk ESS"].min()
    if not rhat <= RHAT:
        found.append(f"R-hat reaches {rhat:.3g}, above {RHAT}: draw more.")
    if not ess >= ESS:
        found.append(f"Bulk ESS falls to {ess:.0f}, below {ESS}: draw more.")
    return f"<p>{text(' '.join(found))}</p>"


def _observations(fit: records.FitRecord | None) -> str:
    if fit is None or not fit.observations:
        return _missing("description of the observations", "jcm-calibrate fit")
    return "<p>The observation vector, block by block.</p>" + table(fit.observations)


def _predictions(directory: Path) -> str:
    predictions = _read(records.read_table, directory, records.PREDICTIONS)
    if predictions is None:
        return _missing("predictions", "jcm-calibrate fit")
    error = {
        name: np.sqrt(np.mean(((predictions[name] - predictions["observed"])
                               / predictions["error"]).values ** 2))
        for name in ("before", "after")}  # fmt: skip
    return (
        f"<p>Root mean square of (model - observed) / error over {predictions.sizes['datum']} "
        f"data: {number(error['before'], 3)} before, {number(error['after'], 3)} after.</p>"
        + _figure(plot_predictive(predictions),
                  "Model minus observations in units of the error, bands of 1 and 2 errors."))


def _bias_maps(directory: Path) -> str:
    maps = _read(records.read_table, directory, records.BIAS_MAPS)
    if maps is None:
        return ('<p>No bias maps: they need a block of observations with <code>operator = '
                '"grid"</code>.</p>')  # fmt: skip
    names = [str(x).removesuffix("_before") for x in maps.data_vars if str(x).endswith("_before")]
    return "".join(
        _figure(plot_bias(maps[f"{name}_before"], maps[f"{name}_after"]), f"Bias of {name}.")
        for name in names if f"{name}_after" in maps)


def _index(directory: Path) -> str:
    after = _read(records.read_table, directory, records.INDEX_AFTER)
    before = _read(records.read_table, directory, records.INDEX_BEFORE)
    if after is None:
        return ("<p>No performance index: it needs runs of years, see "
                "<code>jcm_calibrate.performance_index</code>.</p>")  # fmt: skip
    rows = []
    for name in after["variable"].values:
        for season in after["season"].values:
            here = {"variable": name, "season": season}
            row = {**{k: str(v) for k, v in here.items()}}
            for region in ("Global", "Tropical", "North Midlat", "South Midlat"):
                there = here | {"region": region}
                numbers = [
                    None if x is None else float(x[key].sel(there))
                    for x, key in ((before, "index"), (after, "index"), (after, "cmip6"))]
                row[region] = " / ".join(
                    "\u2013" if x is None or math.isnan(x) else number(x, 3) for x in numbers)
            row["comparable"] = "yes" if after.scale.sel(variable=name) == INTERANNUAL else "no"
            rows.append(row)
    return (
        "<p>Mean squared error of the climatology over the variance of single years: before / "
        f"after / mean of the CMIP6 models. {text(after.attrs.get('differences', ''))}.</p>"
        f"<details open><summary>Table</summary>{table(rows)}</details>")


def _experiment(directory: Path) -> str:
    path = directory / records.EXPERIMENT
    if not path.is_file():
        return f"<p>No {records.EXPERIMENT} beside the results.</p>"
    return f"<pre>{text(path.read_text(encoding='utf-8'))}</pre>"


def _stamp(fit: records.FitRecord | None) -> str:
    cost = fit.cost if fit else {}
    facts: dict[str, Any] = dict(fit.provenance) if fit else {}
    facts |= {"report written by version": package_version()} | {
        f"report, {name}": value for name, value in git_state().items()}
    spent = table([{"": name, "value": value} for name, value in cost.items()]) if cost else ""
    items = "".join(
        f"<dt>{text(name)}</dt><dd><code>{text(x)}</code></dd>" for name, x in facts.items())
    return f"{spent}<dl>{items}</dl>"
