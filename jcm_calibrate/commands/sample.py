"""`jcm-calibrate sample`: draws from the posterior by NUTS on the model itself."""

from pathlib import Path

from jcm_calibrate.commands.shared import (
    ExperimentPath,
    Output,
    Resume,
    check_calibration,
    refuse_earlier,
)
from jcm_calibrate.names import CHAINS, EVALUATIONS, FIT
from jcm_sensitivity.commands.shared import errors_in_one_line, new_console


def sample_command(
    experiment: ExperimentPath, output: Output = Path("calibration"), resume: Resume = False
) -> None:
    """Sample the posterior of the parameters.

    First the fit of the file finds the mode, or is taken from its log in the folder; its curvature
    scales the sampler. Draws are kept as they come, and --resume goes on to the same draws. The
    folder gets posterior.nc, what `fit` writes, and report.html.
    """
    with errors_in_one_line():
        fitted = resume or (output / FIT).is_file()
        check_calibration(experiment, output)
        refuse_earlier(output / EVALUATIONS, fitted)
        refuse_earlier(output / CHAINS, resume)
        from jcm_calibrate.work.sample import sample

        sample(experiment, output, new_console(), fitted=fitted, resume=resume)
