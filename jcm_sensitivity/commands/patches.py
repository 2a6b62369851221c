"""`jcm-sensitivity patches`: runs with warmer and cooler patches of sea against one adjoint map.

Without a file: precipitation over the tropical Pacific, patches over the Pacific.
"""

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


def patches_command(
    experiment: Annotated[
        Path | None,
        typer.Argument(
            help="Experiment in TOML, as for `map`; default: precipitation over the tropical "
            "Pacific on the last of 5 days, T31L8, with respect to sea surface temperature.",
            metavar="EXPERIMENT.toml", show_default=False),
    ] = None,
    output: Annotated[
        Path, typer.Option(help="Folder for patches.nc, patches.png and patch_maps.png.")
    ] = Path(),
    centres: Annotated[
        str | None,
        typer.Option(
            help="Where the centres of the patches lie: the name of a region, or "
            "SOUTH,NORTH,WEST,EAST in degrees. Default: the tropical Pacific, "
            "-21,21,120,-80.", show_default=False),
    ] = None,
    half_widths: Annotated[
        str, typer.Option(help="Half-widths of a patch in latitude and longitude [degrees].")
    ] = "10,40",
    amplitudes: Annotated[
        str, typer.Option(help="Heights of the patches in kelvin, separated by commas.")
    ] = "0.1,1",
    states: Annotated[
        int, typer.Option(help="Number of initial states, along a run.")
    ] = 2,
    spacing: Annotated[
        float, typer.Option(help="Days between the initial states.")
    ] = 5.0,
    smooth: Switches = None,
    store: Annotated[
        Path | None,
        typer.Option(
            help="Folder that keeps each patch that is done, so that a command that was "
            "interrupted goes on there. Default: patch_runs in the output folder.",
            show_default=False),
    ] = None,
) -> None:
    """Test a sensitivity map with runs in which patches of the sea are warmer or cooler.

    The map of `map` says by how much the target changes when the sea warms a little somewhere.
    This command does it: for each of many patches of sea it runs the model with the patch warmer
    and cooler (the Green's function protocol of Bloch-Johnson and others, 2024, in small), and
    compares what it finds with what the map predicts: the correlation over the patches, the slope
    (1 if the size is right too), how far the response is not linear, and what each way costs.
    """
    with errors_in_one_line():
        from jcm_sensitivity.arguments import check_states, parse_region, positive_numbers

        where = None if centres is None else parse_region("--centres", centres)
        widths = positive_numbers("--half-widths", half_widths)
        heights = positive_numbers("--amplitudes", amplitudes)
        if len(widths) != 2:
            raise ValueError(
                f"--half-widths is two numbers of degrees, e.g. 10,40; got {half_widths!r}")
        check_states(states, spacing)
        check_map_experiment(experiment, needs_sea_surface=True)
        store = output / "patch_runs" if store is None else store
        check_folders(output=output, store=store)
        from jcm_sensitivity.work.patches import compare_patches

        compare_patches(
            experiment, output, smooth, where, (widths[0], widths[1]), heights, states, spacing,
            store, new_console())  # fmt: skip
