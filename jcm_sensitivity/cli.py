"""Command line: `jcm-sensitivity`; each command is a file of `jcm_sensitivity.commands`."""

from jcm.command_line import VersionOption, application, calm_compiler
from jcm_sensitivity.commands.check import check_command
from jcm_sensitivity.commands.horizon import horizon_command
from jcm_sensitivity.commands.map import map_command
from jcm_sensitivity.commands.patches import patches_command
from jcm_sensitivity.commands.response import response_command

app = application()


@app.callback()
def main(version: VersionOption = False) -> None:
    """Tell which inputs of a climate run a result depends on, and how much."""
    calm_compiler()


app.command("map")(map_command)
app.command("response")(response_command)
app.command("check")(check_command)
app.command("horizon")(horizon_command)
app.command("patches")(patches_command)
