"""Command line: `jcm-calibrate`; each command is a file of `jcm_calibrate.commands`."""

from jcm.command_line import VersionOption, application, calm_compiler
from jcm_calibrate.commands.ensemble import ensemble_command
from jcm_calibrate.commands.fit import fit_command
from jcm_calibrate.commands.identify import identify_command
from jcm_calibrate.commands.report import report_command
from jcm_calibrate.commands.sample import sample_command

app = application()


@app.callback()
def main(version: VersionOption = False) -> None:
    """Estimate parameters of the model from observations, with their uncertainty."""
    calm_compiler()


app.command("identify")(identify_command)
app.command("fit")(fit_command)
app.command("sample")(sample_command)
app.command("ensemble")(ensemble_command)
app.command("report")(report_command)
