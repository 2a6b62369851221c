"""Files of a calibration come back as they were written, and the page shows them."""

import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from calibration_files import LABELS, fit_record, history, write_all

from jcm_calibrate.reports import records
from jcm_calibrate.reports.html import number, write_report

VOID = {"meta", "img", "br", "input", "link", "hr"}


class Page(HTMLParser):
    """Checks that elements close in order, and gathers what is in them."""

    def __init__(self, page):
        super().__init__()
        self.open, self.words, self.pictures, self.links = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        self.pictures += [attributes["src"]] if tag == "img" else []
        self.links += [x for key in ("src", "href") if (x := attributes.get(key))]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("calibration")
    write_all(path)
    write_report(path)
    return path


@pytest.fixture(scope="module")
def page(folder):
    return Page((folder / "report.html").read_text())


def test_a_fit_comes_back_as_it_was_written(folder):
    assert records.read_fit(folder) == fit_record()


def test_a_history_comes_back_bit_for_bit(folder):
    found, labels = records.read_history(folder)
    assert labels == LABELS
    for name in ("value", "cost", "iterate"):
        np.testing.assert_array_equal(found[name], history()[name])
    assert found["kind"][0] == "value and gradient"


def test_a_posterior_comes_back_and_its_file_is_closed(folder):
    found = records.read_posterior(folder)
    assert dict(found["posterior"].sizes) == {"chain": 4, "draw": 250, "parameter": 4}
    records.write_posterior(folder, found)


def test_numbers_that_are_not_finite_are_null_in_json(tmp_path):
    records.write_identifiability(
        tmp_path, {"labels": ["a"], "eigenvalues": np.array([np.inf]), "directions": [[1.0]]})
    assert records.read_identifiability(tmp_path)["eigenvalues"] == [None]


def test_the_elements_of_the_page_close(page):
    assert page.open == []


def test_the_page_needs_no_other_file(page):
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in page.links)
    assert len(page.pictures) == 7


def test_names_from_outside_are_escaped(folder, page):
    raw = (folder / "report.html").read_text()
    assert "<experiment>" not in raw and "<clouds>" not in raw and "<twin>" not in raw
    assert "Twin <experiment>" in page.words


def test_an_identified_parameter_has_its_estimate_and_interval(page):
    row = page.words[page.words.index(LABELS[1]):]
    assert row[:7] == [
        LABELS[1], "s", "3600", "1800, 3600, 7200", "600 to \u2013", "4322", "4001 to 4701"]


def test_an_unidentified_parameter_has_its_prior_and_no_value(page):
    row = page.words[page.words.index(LABELS[2]):]
    assert row[5:7] == ["not identified", "prior: 1800 to 7200"]
    assert "4323" not in page.words


def test_the_mean_of_unidentified_draws_is_not_shown(page):
    last = len(page.words) - page.words[::-1].index(LABELS[2])
    after = [k for k, word in enumerate(page.words) if word == LABELS[2]][1:]
    assert any(page.words[k + 1] == "not identified" for k in after), last


def test_undecided_directions_are_given_with_their_prior_width(page):
    start = page.words.index("Directions that the data do not decide")
    row = page.words[start:start + 10]
    assert "prior width" in row and any("threshold_of_relative_humidity" in x for x in row)
    assert "1" in row


def test_cost_version_and_hash_are_on_the_page(page):
    for words in ("model days", "144", "0.1.0", "ab" * 32):
        assert words in page.words


def test_index_before_and_after_and_cmip6_stand_together(page):
    assert "2 / 1 / 14.1" in page.words


def test_what_is_missing_is_named_with_its_command(tmp_path):
    records.write_fit(tmp_path, fit_record(observations=()))
    words = " ".join(Page(write_report(tmp_path).read_text()).words)
    for command in ("fit", "identify", "sample"):
        assert f"jcm-calibrate {command}" in words


def test_an_empty_folder_has_nothing_to_report(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing to report.*jcm-calibrate fit"):
        write_report(tmp_path)


@pytest.mark.parametrize("name", [
    "fit.json", "history.csv", "identify.json", "posterior.nc", "predictions.nc"])
def test_a_damaged_file_is_named_and_the_old_report_stays(name, folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    before = (copy / "report.html").read_bytes()
    (copy / name).write_bytes((copy / name).read_bytes()[:40])
    with pytest.raises(ValueError, match=rf"{re.escape(name)} is damaged"):
        write_report(copy)
    assert (copy / "report.html").read_bytes() == before


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        records.write_fit(tmp_path / "none", fit_record())


def test_a_history_of_other_parameters_is_refused(tmp_path):
    with pytest.raises(ValueError, match="4 parameters, got 2 labels"):
        records.write_history(tmp_path, history(), LABELS[:2])


def test_numbers_are_short_and_those_missing_are_dashes():
    assert [number(x) for x in (1 / 3, None, np.inf, "a<b")] == [
        "0.3333", "\u2013", "not finite", "a&lt;b"]
