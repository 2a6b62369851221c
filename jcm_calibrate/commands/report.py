"""`jcm-calibrate report`: one HTML page from the folder of a calibration."""

from pathlib import Path

from jcm_calibrate.commands.shared import ExperimentPath, Output
from jcm_sensitivity.commands.shared import errors_in_one_line, new_console


def report_command(experiment: ExperimentPath, output: Output = Path("calibration")) -> None:
    """Write report.html from what fit, sample and identify have left in the folder.

    The page holds its figures and needs no other file. Nothing is computed again.
    """
    with errors_in_one_line():
        if not experiment.is_file():
            raise FileNotFoundError(f"no experiment {experiment}")
        if not output.is_dir():
            raise FileNotFoundError(
                f"no folder {output}; run `jcm-calibrate fit {experiment} --output {output}` first")
        from jcm_calibrate.work.shared import finish

        finish(output, new_console())
