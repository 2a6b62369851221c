"""`jcm-sensitivity check`: the certificate of the derivatives of a model."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from jcm_sensitivity.commands.shared import (
    Switches,
    check_folders,
    checked_experiment,
    errors_in_one_line,
    new_console,
)
from jcm_sensitivity.names import DEFAULT_TARGETS

PRECISIONS = ("float64", "float32")


def check_command(
    experiment: Annotated[
        Path | None,
        typer.Argument(
            help="Experiment in TOML: its model, inputs and target; default: the default model.",
            metavar="EXPERIMENT.toml", show_default=False),
    ] = None,
    parameters: Annotated[
        str,
        typer.Option(
            help="Inputs to check, separated by commas: parameters, groups of them such as "
            "parameters.convection, boundary fields such as forcing.sea_surface_temperature, or "
            "the initial atmosphere such as state.air_temperature; default: all (an hour)."),
    ] = "all",
    targets: Annotated[
        str,
        typer.Option(
            help="Results whose derivatives are checked, separated by commas: "
            f"{', '.join(DEFAULT_TARGETS)} (all six: the default), an index such as "
            "global_mean_precipitation, or `target`, that of the experiment."),
    ] = "all",
    horizons: Annotated[
        str, typer.Option(help="Lengths of the runs, separated by commas.")
    ] = "1step,6h,1d,5d",
    grid: Annotated[str, typer.Option(help="Grid, without an experiment.")] = "T21L8",
    dtype: Annotated[
        str, typer.Option(help="Precision of the numbers: float64, or float32.")
    ] = "float64",
    smooth: Switches = None,
    directions: Annotated[
        int, typer.Option(help="How many random directions in all these inputs to add.")
    ] = 0,
    tolerance: Annotated[
        float, typer.Option(help="Largest relative difference that passes.")
    ] = 1e-5,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File for all numbers.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="File for a page with tables and figures.")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps inputs that are done; a check that was interrupted "
                     "goes on there."),
    ] = None,
) -> None:
    """Check the derivatives of the model, and say what each of them is worth.

    For each input, result and length of run the derivative is compared with pairs of runs in which
    the input is changed a little, up and down. Verdicts: pass; kink or jump (the derivative is
    right, but a switch of the physics flips and a finite change sees more, the switch is named);
    dead (the derivative is 0, and why); noise floor (too small to be measured); chaotic (the run
    is too long); wrong and not finite. The status is 1 if any derivative is wrong or not finite.
    """
    with errors_in_one_line():
        if dtype not in PRECISIONS:
            raise ValueError(f"--dtype is float64 or float32; got {dtype!r}")
        lengths = [x.strip() for x in horizons.split(",")]
        _check(grid, targets, lengths, tolerance, directions, known=experiment is not None)
        checked_experiment(experiment)
        _check_places({"--json": json_file, "--html": html})
        check_folders(store=store)
        from jcm.files import write_text
        from jcm_sensitivity.report_html import write_html
        from jcm_sensitivity.work.check import certificate, report

        result = certificate(
            experiment, grid=grid, smooth=smooth, dtype=dtype, parameters=parameters,
            targets=targets, horizons=lengths, tolerance=tolerance, directions=directions,
            store=store)  # fmt: skip
        result["command"] = shlex.join(["jcm-sensitivity", *sys.argv[1:]])
        report(new_console(), result)
        if json_file is not None:
            write_text(json_file, json.dumps(result) + "\n")
        if html is not None:
            write_html(result, html)
    raise typer.Exit(0 if result["passed"] else 1)


def _check(
    grid: str, targets: str, lengths: list[str], tolerance: float, directions: int, *, known: bool
) -> None:
    """Refuse values that cannot be; `known` tells whether there is a target of an experiment."""
    from jcm.structure import check_structure
    from jcm_sensitivity.arguments import (
        check_positive,
        check_target_names,
        parse_horizon,
        parts,
    )

    check_structure(grid)
    if targets != "all":
        check_target_names(parts(targets), [*DEFAULT_TARGETS, *(["target"] if known else [])])
    for length in lengths:
        parse_horizon(length)
    check_positive(tolerance=tolerance)
    if directions < 0:
        raise ValueError(f"--directions is 0 or more; got {directions}")


def _check_places(files: dict[str, Path | None]) -> None:
    """Refuse places that cannot be written before an hour of work, not after it."""
    for option, path in files.items():
        if path is not None and not path.parent.is_dir():
            raise FileNotFoundError(
                f"there is no folder {str(path.parent)!r} for the file of {option}; make it first")
        if path is not None and path.is_dir():
            raise IsADirectoryError(f"{option} is a file, but {str(path)!r} is a folder")
