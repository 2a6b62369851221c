"""The command line of calibrations: what it writes, resumes and says."""

import shutil

import numpy as np
import pytest
import xarray as xr
from calibration_command import (
    CONVECTION,
    RAIN,
    SMALL,
    WINDOW,
    built,
    cheap_windows,
    invoke,
    refused,
    written,
)

from jcm_calibrate.reports import records

__all__ = ["built"]
pytestmark = pytest.mark.usefixtures("built")


@pytest.fixture(
    scope="module", params=["cheap", pytest.param("model", marks=pytest.mark.slow)])
def run(request):
    """A run that costs nothing, then that of the model."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "cheap":
            patch.setattr("jcm_calibrate.experiment.make_windows", cheap_windows)
        yield request.param


@pytest.fixture(scope="module")
def finished(built, run, tmp_path_factory):
    """The folder after all commands, and what each of them said."""
    folder = tmp_path_factory.mktemp("calibration")
    path, output, said = written(folder), folder / "out", {}
    for command in ("identify", "fit", "sample", "ensemble", "report"):
        result = invoke(command, path, "--output", output)
        assert result.exit_code == 0, f"{command}: {result.output}"
        said[command] = result.output
    return output, said


def test_the_commands_leave_the_files_of_the_report(finished):
    output, _ = finished
    names = {x.name for x in output.iterdir()}
    assert names >= {
        "experiment.toml", "identify.json", "fit.json", "history.csv", "evaluations.jsonl",
        "posterior.nc", "predictions.nc", "bias_maps.nc", "ensemble.zarr",
        "report.html"}  # fmt: skip


def test_the_fit_finds_the_truth_of_the_twin(finished):
    output, _ = finished
    found = {x.name: x for x in records.read_fit(output).parameters}
    for name, true in ((CONVECTION, 14400.0), (WINDOW, 0.4)):
        low, high = found[name].interval
        width = high - low
        assert low - width < true < high + width
        assert abs(found[name].estimate - true) < abs(found[name].reference - true)


def test_bias_maps_are_of_the_blocks_on_the_grid(finished):
    output, _ = finished
    maps, data = (records.read_table(output, x) for x in (records.BIAS_MAPS, records.PREDICTIONS))
    assert set(maps.data_vars) == {"longwave_before", "longwave_after"}
    bias = (data["before"] - data["observed"]).values[-maps["longwave_before"].size:]
    # Cells of the vector are in the order longitude, latitude.
    np.testing.assert_array_equal(maps["longwave_before"].values.T.ravel(), bias)


def test_identify_names_both_parameters_and_who_decides(finished):
    _, said = finished
    assert CONVECTION in said["identify"] and "decided by" in said["identify"]


def test_posterior_holds_the_draws_that_were_asked_for(finished):
    output, said = finished
    group = records.read_posterior(output)["posterior"]
    assert group[WINDOW].shape == (2, 4) and "R-hat" in said["sample"]


def test_ensemble_holds_the_outputs_of_all_members(finished):
    output, said = finished
    with xr.open_zarr(output / "ensemble.zarr") as store:
        assert store[RAIN].sizes["member"] == 2 and np.isfinite(store[RAIN].values).all()
    assert "2 of 2 members" in said["ensemble"]


def test_report_needs_no_other_file_and_holds_all_sections(finished):
    output, _ = finished
    page = (output / "report.html").read_text()
    assert "Small twin" in page and "data:image/" in page
    assert ": run <code>" not in page and "Bias of longwave" in page
    assert 'src="http' not in page and "<link" not in page


def test_a_fit_killed_in_the_middle_ends_where_it_would_have_ended(finished, tmp_path):
    whole, _ = finished
    lines = (whole / "evaluations.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) > 3
    output = tmp_path / "out"
    output.mkdir()
    # The header, two evaluations, and half a line: what a kill leaves.
    (output / "evaluations.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:40])
    shutil.copy(whole / "experiment.json", output)
    result = invoke("fit", written(tmp_path), "--output", output, "--resume")
    assert result.exit_code == 0, result.output
    one, _ = records.read_history(whole)
    other, _ = records.read_history(output)
    np.testing.assert_array_equal(one["iterate"], other["iterate"])
    np.testing.assert_array_equal(one["value"], other["value"])


def test_more_draws_may_be_asked_for_on_resume(finished, tmp_path):
    whole, _ = finished
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    path = written(tmp_path, calibration__sample=SMALL["calibration.sample"].replace(
        "draws = 4", "draws = 6"))  # fmt: skip
    result = invoke("sample", path, "--output", output, "--resume")
    assert result.exit_code == 0, result.output
    before, after = (records.read_posterior(x)["posterior"][WINDOW].values
                     for x in (whole, output))  # fmt: skip
    np.testing.assert_array_equal(after[:, :4], before)
    assert after.shape == (2, 6)


@pytest.mark.parametrize(
    ("command", "file"), [("fit", "evaluations.jsonl"), ("sample", "chains.npz"),
                          ("ensemble", "ensemble.zarr")])  # fmt: skip
def test_finished_work_is_not_overwritten_without_resume(finished, tmp_path, command, file):
    result = invoke(command, written(tmp_path), "--output", finished[0])
    refused(result, file, "add --resume")


def test_results_of_another_experiment_are_not_mixed(finished, tmp_path):
    before = (finished[0] / "fit.json").read_bytes()
    path = written(tmp_path, calibration__fit="steps = 6\nmethod = \"lbfgs\"")
    result = invoke("fit", path, "--output", finished[0], "--resume")
    refused(result, "belongs to another experiment (other fit)", "another --output")
    assert (finished[0] / "fit.json").read_bytes() == before


def test_a_damaged_log_is_named_with_its_line(finished, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(finished[0], output)
    log = output / "evaluations.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(lines[0] + b"{damaged\n" + b"".join(lines[2:]))
    result = invoke("fit", written(tmp_path), "--output", output, "--resume")
    refused(result, "line 2 of", "damaged", "cut it off before this line")
    assert log.read_bytes().startswith(lines[0] + b"{damaged\n")


def test_a_damaged_result_is_named_in_the_report(finished, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(finished[0], output)
    (output / "fit.json").write_text("{")
    refused(invoke("report", written(tmp_path), "--output", output), "fit.json is damaged")
