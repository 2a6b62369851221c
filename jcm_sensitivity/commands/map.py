"""`jcm-sensitivity map`: computes, writes and draws a sensitivity map.

Without a file it maps the sensitivity of precipitation over the tropical Pacific to the sea surface
temperature of the world.
"""

import warnings
from pathlib import Path
from typing import Annotated

import typer

from jcm.command_line import compile_quickly
from jcm_sensitivity.commands.shared import (
    Switches,
    check_folders,
    check_map_experiment,
    errors_in_one_line,
    new_console,
)


def map_command(
    experiment: Annotated[
        Path | None,
        typer.Argument(
            help="Experiment in TOML; default: precipitation over the tropical Pacific on the "
            "last of 5 days, T31L8, with respect to sea surface temperature.",
            metavar="EXPERIMENT.toml", show_default=False),
    ] = None,
    output: Annotated[
        Path, typer.Option(help="Folder for sensitivity_map.nc and sensitivity_map.png.")
    ] = Path(),
    smooth: Switches = None,
    by_day: Annotated[
        bool,
        typer.Option(
            "--by-day", help="Also the effect of a change on each single day of the run, with an "
            "animation, sensitivity_map.gif."),
    ] = False,
    members: Annotated[
        int,
        typer.Option(
            help="Number of initial states along a run, 5 days apart; with two or more, maps are "
            "means over them, and what is significant is stippled."),
    ] = 1,
    memory: Annotated[
        str | None,
        typer.Option(help="Largest memory, e.g. 2GiB; a smaller one takes more time."),
    ] = None,
    check: Annotated[
        bool | None,
        typer.Option(
            "--check/--no-check", help="Compare with two more runs: input changed by -0.5 and +0.5 "
            "(K for temperature) inside the region of the target. Default: for a single initial "
            "state.", show_default=False),
    ] = None,
) -> None:
    """Map the sensitivity of a mean over a region to fields such as sea surface temperature."""
    with errors_in_one_line():
        from jcm_sensitivity.arguments import parse_memory

        if members < 1 or (members > 1 and (by_day or memory or check)):
            raise ValueError(
                "--members is a positive number, and two or more of them go without --by-day, "
                f"--memory and --check; got {members}")
        if memory is not None:
            parse_memory(memory)
        check_map_experiment(experiment)
        check_folders(output=output)
        compile_quickly()
        from jcm_sensitivity.horizon import HorizonWarning
        from jcm_sensitivity.work.map import map_ensemble, map_sensitivity

        with warnings.catch_warnings():
            # Said once, after the table.
            warnings.simplefilter("ignore", HorizonWarning)
            if members > 1:
                map_ensemble(experiment, output, smooth, members, new_console())
            else:
                map_sensitivity(
                    experiment, output, smooth, by_day, memory, check is not False,
                    new_console())
