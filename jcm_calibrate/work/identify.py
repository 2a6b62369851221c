"""Tells what the observations determine, and records it."""

from pathlib import Path

from rich.console import Console

from jcm_calibrate.experiment import start_vector
from jcm_calibrate.reports import records
from jcm_calibrate.uncertainty.identify import identify
from jcm_calibrate.work.shared import finish, prepare
from jcm_sensitivity.commands.shared import status


def tell(experiment: Path, output: Path, console: Console) -> None:
    """Run the tangents, and write identify.json and report.html."""
    calibration = prepare(experiment, output, console)
    problem = calibration.problem
    with status(console, f"Running {problem.space.size} tangents"):
        found = identify(
            problem.residuals, start_vector(calibration), labels=problem.space.labels)
    records.write_identifiability(output, found.to_dict())
    console.print(found.describe(), highlight=False)
    finish(output, console)
