"""The command `jcm` in this process, and the experiment that it finishes fastest."""

from typer.testing import CliRunner, Result

from jcm.cli import app

EXPERIMENT = """
[model]
grid = "T21L5"
physics = "held_suarez"
[forcing]
kind = "aquaplanet"
[state]
kind = "rest"
[run]
days = 1
every = 0.25
"""


def jcm(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(x) for x in arguments])
