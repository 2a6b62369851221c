"""The certificate as a page: complete, self-contained, and safe against hostile names."""

import itertools
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from jcm_sensitivity.report_html import LEGEND, write_html

HOSTILE = "</script><script>alert('x')</script><b title=\"&\">$\\frac{"
HORIZONS = {"1step": 1, "6h": 9, "1d": 36, "5d": 180}
STEPS = [float(h) for h in 10.0 ** -np.arange(1, 8.1, 0.5)]
VERDICTS = list(LEGEND)


def synthetic(inputs=6, targets=3, hostile=False):
    """A certificate with every verdict, and remainders of a smooth function with rounding."""
    rng = np.random.default_rng(0)
    inputs = [f"parameters.scheme.number_{k}" for k in range(inputs)]
    targets = [f"target_{k}" for k in range(targets)]
    if hostile:
        inputs[1] = targets[0] = HOSTILE
    cells = [
        cell(rng, x, t, h, VERDICTS[k % len(VERDICTS)], hostile)
        for k, (x, t, h) in enumerate(itertools.product(inputs, targets, HORIZONS))]
    text = HOSTILE if hostile else "words"
    return {
        "title": f"Certificate of T21L8 {text}", "model": "T21L8", "dtype": "float64",
        "version": "0.1.0", "parameters_sha256": "ab" * 32, "created": "2026-01-02",
        "command": f"jcm-sensitivity check {text}", "tolerance": 1e-5, "passed": False,
        "horizons": [{"name": name, "steps": steps} for name, steps in HORIZONS.items()],
        "targets": [{"name": t, "description": text, "units": "mm day-1"} for t in targets],
        "summary": {v: sum(c["verdict"] == v for c in cells) for v in VERDICTS},
        "inputs": [{"name": x, "units": "K-1", "step_unit": "10 % of the value"} for x in inputs],
        "cells": cells,
        "identity": [{"horizon": "1d", "dtype": "float64", "mismatch": 3.2e-15}],
        "random_directions": {"count": 200, "within_1e-6": 200},
    }  # fmt: skip


def cell(rng, name, target, horizon, verdict, hostile):
    """One cell: slope and curvatures of order 1, and rounding."""
    slope, second, third = rng.lognormal(sigma=2, size=3)
    rounding = 1e-12 * rng.lognormal(size=(2, len(STEPS)))
    h = np.array(STEPS)
    r1, r2 = second * h**2 + rounding[0], third * h**3 + rounding[1]
    if verdict == "not finite":
        slope, r1 = float("nan"), np.full_like(r1, np.nan)
    return {
        "input": name, "target": target, "horizon": horizon, "verdict": verdict,
        "explanation": HOSTILE if hostile else f"because of {verdict}.",
        "ad": slope, "fd": slope, "fd_frozen": None if verdict == "dead" else slope,
        "error": 1e-9, "orders": [1.0, 2.0, None], "steps": STEPS, "r1": list(r1), "r2": list(r2),
        "flips": [HOSTILE if hostile else "120 x jcm.physics.convection.top: a < b (lt, layer 3)"],
    }  # fmt: skip


class Page(HTMLParser):
    """Elements of a page, and whether they are closed in order."""

    VOID = frozenset({"meta", "input", "img", "br"})

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.texts = [], [], {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def all(self, tag):
        """Attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    def write(certificate):
        path = tmp_path_factory.mktemp("page") / "certificate.html"
        write_html(certificate, path)
        assert [x.name for x in path.parent.iterdir()] == ["certificate.html"]
        return path.read_text(encoding="utf-8")

    return write


@pytest.fixture(scope="module")
def plain(written):
    return written(synthetic())


@pytest.fixture(scope="module")
def hostile(written):
    return written(synthetic(hostile=True))


def data_of(page):
    """What the script reads."""
    return json.loads(page.texts["script"][0])


def test_all_elements_of_the_page_are_closed_in_order(plain):
    assert Page(plain).open == []


def test_the_page_refers_to_nothing_outside(plain):
    page = Page(plain)
    for _, attributes in page.elements:
        for name in ("src", "href", "action", "srcset", "data"):
            assert attributes.get(name, "data:").startswith("data:")
    assert not page.all("link")
    assert not re.search(r"@import|url\(|fetch\(|XMLHttp|import\(", plain)


def test_every_cell_has_a_button_that_says_its_verdict(plain):
    certificate = synthetic()
    buttons = Page(plain).all("button")
    assert [int(b["data-cell"]) for b in buttons] == list(range(len(certificate["cells"])))
    for button, x in zip(buttons, certificate["cells"], strict=True):
        assert button["aria-label"] == (
            f"{x['input']}, {x['target']}, {x['horizon']}: {x['verdict']}")


def test_every_cell_has_its_details(plain):
    cells = data_of(Page(plain))["cells"]
    for shown, x in zip(cells, synthetic()["cells"], strict=True):
        assert shown["explanation"] == x["explanation"]
        assert shown["flips"] == x["flips"]
        np.testing.assert_allclose(shown["r2"], x["r2"], rtol=6e-3)


def test_a_cell_that_was_not_checked_is_left_empty(written):
    certificate = synthetic()
    certificate["cells"] = certificate["cells"][1:]
    page = Page(written(certificate))
    assert len(page.all("button")) == len(certificate["cells"])
    assert len([x for x in page.all("td") if "data-target" in x]) == len(certificate["cells"]) + 1


def test_verdicts_are_told_by_symbols_not_by_colour_alone():
    symbols = [symbol for symbol, _ in LEGEND.values()]
    assert len(set(symbols)) == len(symbols)


def test_names_and_texts_cannot_become_elements(plain, hostile):
    kinds = [tag for tag, _ in Page(plain).elements]
    assert [tag for tag, _ in Page(hostile).elements] == kinds


def test_hostile_names_arrive_unchanged(hostile):
    page = Page(hostile)
    assert data_of(page)["cells"][0]["explanation"] == HOSTILE
    assert any(HOSTILE in button["aria-label"] for button in page.all("button"))


def test_every_horizon_has_a_taylor_plot(plain):
    images = Page(plain).all("img")
    assert [x["alt"].split()[-1] for x in images] == list(HORIZONS)


def test_cells_without_remainders_leave_no_plot_but_a_sentence(written):
    certificate = synthetic()
    for x in certificate["cells"]:
        x["ad"] = 0.0
    text = written(certificate)
    assert "no cell has remainders to show" in text
    assert not Page(text).all("img")


def test_numbers_that_are_not_finite_are_words_not_invalid_json(plain):
    assert not re.search(r"\b(NaN|Infinity)\b", json.dumps(data_of(Page(plain))))
    assert "not finite" in plain


@pytest.mark.parametrize("key", ["input", "target", "horizon", "verdict"])
def test_a_cell_with_an_unknown_name_is_refused(tmp_path, key):
    certificate = synthetic()
    certificate["cells"][3][key] = "nonsense"
    with pytest.raises(ValueError, match=f"{key} 'nonsense'"):
        write_html(certificate, tmp_path / "page.html")


def test_an_incomplete_certificate_is_refused_with_what_it_lacks(tmp_path):
    certificate = synthetic()
    del certificate["tolerance"]
    with pytest.raises(ValueError, match="no tolerance"):
        write_html(certificate, tmp_path / "page.html")


def test_a_large_certificate_stays_below_10_megabytes(written):
    large = written(synthetic(inputs=130, targets=6))
    assert len(large.encode()) < 10e6
