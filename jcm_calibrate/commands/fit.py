"""`jcm-calibrate fit`: the parameters that agree best with observations and prior."""

from pathlib import Path

from jcm_calibrate.commands.shared import (
    ExperimentPath,
    Output,
    Resume,
    check_calibration,
    refuse_earlier,
)
from jcm_calibrate.names import EVALUATIONS
from jcm_sensitivity.commands.shared import errors_in_one_line, new_console


def fit_command(
    experiment: ExperimentPath, output: Output = Path("calibration"), resume: Resume = False
) -> None:
    """Find the parameters of highest posterior density, and how well the data determine them.

    Every evaluation is logged; a fit that was killed ends, with --resume, where it would have
    ended. The folder gets fit.json, history.csv, predictions.nc and report.html.
    """
    with errors_in_one_line():
        check_calibration(experiment, output)
        refuse_earlier(output / EVALUATIONS, resume)
        from jcm_calibrate.work.fit import fit

        fit(experiment, output, new_console(), resume=resume)
