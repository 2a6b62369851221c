"""Command line: `jcm-sensitivity`; each command is a file of `jcm_sensitivity.commands`."""

import typer

from jcm_sensitivity.commands.check import check_command
from jcm_sensitivity.commands.horizon import horizon_command
from jcm_sensitivity.commands.map import map_command
from jcm_sensitivity.commands.patches import patches_command
from jcm_sensitivity.commands.response import response_command

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def main() -> None:
    """Tell which inputs of a climate run a result depends on, and how much."""


app.command("map")(map_command)
app.command("response")(response_command)
app.command("check")(check_command)
app.command("horizon")(horizon_command)
app.command("patches")(patches_command)
