"""`jcm-calibrate identify`: which parameters the observations can determine, before any fit."""

from pathlib import Path

from jcm_calibrate.commands.shared import ExperimentPath, Output, check_calibration
from jcm_sensitivity.commands.shared import errors_in_one_line, new_console


def identify_command(experiment: ExperimentPath, output: Output = Path("calibration")) -> None:
    """Tell which parameters, and combinations of them, the observations determine.

    One tangent run for each parameter. A direction that the data say little about is given with
    its prior width, not with a value. The folder gets identify.json and report.html.
    """
    with errors_in_one_line():
        check_calibration(experiment, output)
        from jcm_calibrate.work.identify import tell

        tell(experiment, output, new_console())
