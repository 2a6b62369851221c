"""`jcm-calibrate identify`: which parameters the observations can determine, before any fit."""

from pathlib import Path

from jcm_calibrate.commands.shared import ExperimentPath, Output, finish, prepare
from jcm_calibrate.experiment import start_vector
from jcm_calibrate.reports import records
from jcm_calibrate.uncertainty.identify import identify
from jcm_sensitivity.commands.shared import errors_in_one_line, new_console, status


def identify_command(experiment: ExperimentPath, output: Output = Path("calibration")) -> None:
    """Tell which parameters, and combinations of them, the observations determine.

    One tangent run for each parameter. A direction that the data say little about is given with
    its prior width, not with a value. The folder gets identify.json and report.html.
    """
    with errors_in_one_line():
        console = new_console()
        calibration = prepare(experiment, output, console)
        problem = calibration.problem
        with status(console, f"Running {problem.space.size} tangents"):
            found = identify(
                problem.residuals, start_vector(calibration), labels=problem.space.labels)
        records.write_identifiability(output, found.to_dict())
        console.print(found.describe(), highlight=False)
        finish(output, console)
