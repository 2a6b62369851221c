"""`jcm-sensitivity response`: the first-order change of all fields by one change of the inputs.

Without a file it warms the sea surface of Nino 3.4 by 1 K.
"""

from pathlib import Path
from typing import Annotated

import typer

from jcm.command_line import compile_quickly
from jcm_sensitivity.commands.shared import (
    Switches,
    check_folders,
    checked_experiment,
    errors_in_one_line,
    new_console,
)


def response_command(
    experiment: Annotated[
        Path | None,
        typer.Argument(
            help="Experiment in TOML with a table [response]: change = { \"NAME\" = SIZE }, and "
            "if wanted region, a name or [south, north, west, east]. Default: sea surface "
            "temperature +1 K in Nino 3.4, 5 days, T31L8.",
            metavar="EXPERIMENT.toml", show_default=False),
    ] = None,
    output: Annotated[
        Path, typer.Option(help="Folder for response.nc, consistency.nc and the pictures.")
    ] = Path(),
    smooth: Switches = None,
) -> None:
    """Show how all fields respond to a small change of the sea surface, a parameter, the state.

    The response is linear: it is exact for a very small change, and scaled to the size that is
    given. It answers what happens everywhere if one thing changes, where `map` answers what
    everything does to one result. The dynamical consistency says whether the wind fits the change
    of pressure, and whether energy and water add up.
    """
    with errors_in_one_line():
        read = checked_experiment(experiment)
        if read is not None:
            from jcm_sensitivity.arguments import change_of, check_every

            change_of(read)
            check_every(read, "a response")
        check_folders(output=output)
        compile_quickly()
        from jcm_sensitivity.work.response import show_response

        show_response(experiment, output, smooth, new_console())
