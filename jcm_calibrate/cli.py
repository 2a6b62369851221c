"""Command line: `jcm-calibrate`; each command is a file of `jcm_calibrate.commands`."""

import typer

from jcm_calibrate.commands.ensemble import ensemble_command
from jcm_calibrate.commands.fit import fit_command
from jcm_calibrate.commands.identify import identify_command
from jcm_calibrate.commands.report import report_command
from jcm_calibrate.commands.sample import sample_command

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def main() -> None:
    """Estimate parameters of the model from observations, with their uncertainty."""


app.command("identify")(identify_command)
app.command("fit")(fit_command)
app.command("sample")(sample_command)
app.command("ensemble")(ensemble_command)
app.command("report")(report_command)
