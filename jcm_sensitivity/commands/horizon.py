"""`jcm-sensitivity horizon`: up to which lead a gradient tells the response of finite runs."""

from pathlib import Path
from typing import Annotated

import typer

from jcm_sensitivity.commands.shared import (
    Switches,
    check_folders,
    check_map_experiment,
    errors_in_one_line,
    new_console,
)
from jcm_sensitivity.names import TOLERANCE


def horizon_command(
    experiment: Annotated[
        Path | None,
        typer.Argument(
            help="Experiment in TOML, as for `map`; default: precipitation over the tropical "
            "Pacific on the last day of a run, T31L8, with respect to sea surface temperature.",
            metavar="EXPERIMENT.toml", show_default=False),
    ] = None,
    output: Annotated[
        Path, typer.Option(help="Folder for horizon.nc and horizon.png.")
    ] = Path(),
    states: Annotated[
        int, typer.Option(help="Number of initial states, along a run.")
    ] = 6,
    spacing: Annotated[
        float, typer.Option(help="Days between the initial states.")
    ] = 5.0,
    leads: Annotated[
        str, typer.Option(help="Lengths of the runs in days, separated by commas.")
    ] = "1,2,3,5,7,10",
    amplitudes: Annotated[
        str,
        typer.Option(
            help="Sizes of the finite changes, separated by commas: kelvin for temperatures, "
            "tenths of the width of its bounds for a parameter."),
    ] = "0.1,1",
    tolerance: Annotated[
        float, typer.Option(help="Difference of the ratio from 1 that still counts as agreement.")
    ] = TOLERANCE,
    norms: Annotated[
        bool, typer.Option("--norms", help="Also the norm of the full gradient at three leads; one "
                           "adjoint run for each state and lead.")
    ] = False,
    smooth: Switches = None,
    write_default: Annotated[
        bool,
        typer.Option(
            "--write-default", help="Measure the table of windows by type of variable by which "
            "sensitivities are warned, and write it into the package; 10 minutes."),
    ] = False,
) -> None:
    """Find for how many days a gradient tells what a finite change would do.

    The weather is chaotic: a gradient over too long a run grows without limit and no longer says
    what happens if the sea really becomes one degree warmer. From several initial states this
    command compares the gradient with pairs of runs whose input is changed up and down in the
    region of the target (on the whole globe if it has none), and gives the usable window: the
    longest lead at which the two still agree for at least half of the states.
    """
    with errors_in_one_line():
        if write_default:
            from jcm_sensitivity.work.horizon import write_default_windows

            write_default_windows(new_console())
            return
        from jcm_sensitivity.arguments import check_positive, check_states, positive_numbers

        sizes = {"leads": sorted(positive_numbers("--leads", leads)),
                 "amplitudes": sorted(positive_numbers("--amplitudes", amplitudes))}  # fmt: skip
        check_states(states, spacing)
        check_positive(tolerance=tolerance)
        check_map_experiment(experiment)
        check_folders(output=output)
        from jcm_sensitivity.work.horizon import find_horizon

        find_horizon(
            experiment, output, smooth, states, spacing, sizes, tolerance, norms, new_console())
