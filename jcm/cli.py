"""The command `jcm`: describe a model, run it, fetch data."""

import contextlib
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jcm.command_line import VersionOption, application, calm_compiler

if TYPE_CHECKING:
    from jcm.config import Experiment

# JAX and the model are imported by the commands that use them, so that help and errors of usage
# come at once.

app = application()
data_app = application(help="Fetch data that do not come with the package.")
app.add_typer(data_app, name="data")


@app.callback()
def main(version: VersionOption = False) -> None:
    """Run a differentiable atmospheric general circulation model."""
    calm_compiler()


ExperimentFile = Annotated[
    Path | None, typer.Argument(metavar="EXPERIMENT.toml", help="Default: all defaults.")]
GridOption = Annotated[str | None, typer.Option(help="Truncation and layers, e.g. T31L8.")]
PresetOption = Annotated[str | None, typer.Option(help="speedy or speedy_f90.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]


@app.command()
def run(
    experiment: ExperimentFile = None,
    days: Annotated[float | None, typer.Option(help="Length of the run; default 30.")] = None,
    every: Annotated[
        str | None, typer.Option(metavar="DAYS|month", help="Days between outputs; default 1.")
    ] = None,
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="New or empty directory to write into.")
    ] = Path("output"),
    grid: GridOption = None,
    preset: PresetOption = None,
    start: Annotated[str | None, typer.Option(metavar="DATE", help="First day.")] = None,
    variables: Annotated[
        str | None, typer.Option(metavar="NAME,NAME", help="Variables to write; default all.")
    ] = None,
    instantaneous: Annotated[
        bool, typer.Option("--instantaneous", help="Fields at the time of output, no means.")
    ] = False,
    pressure_levels: Annotated[
        str | None,
        typer.Option(metavar="HPA,HPA", help="Pressure levels, e.g. 850,500,200, not layers."),
    ] = None,
    format: Annotated[
        str | None, typer.Option(metavar="netcdf|zarr", help="Of the fields; default netcdf.")
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Integrate and write fields.nc and run.json; `jcm resume` goes on after an interruption."""
    with _one_line_errors(output):
        from jcm.arguments import check_directory
        from jcm.config import check_run

        check_directory(output)
        table = {
            "days": days,
            "every": _number_or_text(every),
            "average": False if instantaneous else None,
            "variables": None if variables is None else variables.split(","),
            "pressure_levels": None if pressure_levels is None else [
                _number_or_text(x) for x in pressure_levels.split(",")],
            "format": format,
        }  # fmt: skip
        loaded = _experiment(
            experiment, model={"grid": grid, "preset": preset}, forcing={"start": start},
            run=table)  # fmt: skip
        check_run(loaded)
        from jcm.build import build
        from jcm.run import run as integrate

        model, inputs, options = build(loaded)
        _report(integrate(model, inputs, output, progress=not quiet, **options))


@app.command()
def resume(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory of the run.")],
    days: Annotated[
        float | None, typer.Option(help="Length of the whole run; default that asked for before.")
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Go on with an interrupted run, or lengthen one; the result is the same bit for bit."""
    with _one_line_errors(directory):
        from jcm.arguments import check_resumable

        check_resumable(directory)
        if days is not None and not 0 < days < math.inf:
            raise ValueError(f"days must be a positive finite number; got {days}")
        from jcm.run import resume as go_on

        _report(go_on(directory, days, progress=not quiet))


@app.command()
def describe(
    experiment: ExperimentFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    grid: GridOption = None,
    preset: PresetOption = None,
) -> None:
    """Show grid, schemes, options and every parameter of a model."""
    with _one_line_errors():
        loaded = _experiment(experiment, model={"grid": grid, "preset": preset})
        content = description(loaded)
        if as_json:
            typer.echo(json.dumps(content, indent=2))
        else:
            _print_tables(content)


@app.command()
def benchmark(
    grid: Annotated[
        list[str], typer.Option(metavar="NAME,NAME", help="Models; the first one in depth.")
    ] = ["T31L8"],  # noqa: B006
    members: Annotated[
        list[str], typer.Option(metavar="N,N", help="Sizes of ensembles that run at once.")
    ] = ["1"],  # noqa: B006
    gradient: Annotated[
        list[str], typer.Option(metavar="DAYS,DAYS", help="Also gradients over so many days.")
    ] = [],  # noqa: B006
    peer: Annotated[
        Path | None,
        typer.Option(metavar="PYTHON", help="Python of an environment with PyPI's jcm 3.0.0."),
    ] = None,
    time_step: Annotated[float | None, typer.Option(help="Seconds; default of the grid.")] = None,
    days: Annotated[
        float | None, typer.Option(help="Length of a timed run; default long enough.")] = None,
    repeats: Annotated[int, typer.Option(help="Repeats, of which the median counts.")] = 5,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="File to write.")] = None,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the tables of the README.")] = False,
    no_profile: Annotated[
        bool, typer.Option("--no-profile", help="Leave out the pieces of a step.")] = False,
) -> None:
    """Measure speed, gradients, start and memory, also beside another model."""
    with _one_line_errors():
        import jcm.benchmark as benchmark
        from jcm.files import write_text

        settings = benchmark.Settings(
            benchmark.model_names(grid), benchmark.numbers("--members", members, int),
            benchmark.numbers("--gradient", gradient, float), peer, time_step, days, repeats,
            not no_profile)  # fmt: skip
        benchmark.check(settings, json_file)
        content = benchmark.measure(settings, lambda text: typer.echo(text, err=True))
        if json_file is not None:
            write_text(json_file, json.dumps(content, indent=2) + "\n")
        if as_markdown:
            typer.echo(benchmark.markdown(content))
        else:
            benchmark.show(content)


@data_app.command()
def speedy() -> None:
    """Fetch SPEEDY's own boundary data (T30), for validation."""
    with _one_line_errors():
        from jcm.speedy_data import fetch_speedy_data

        fetch_speedy_data(progress=typer.echo)


def description(experiment: "Experiment") -> dict[str, Any]:
    """Return what there is to know of a model, ready for JSON."""
    from jcm.build import build_structure
    from jcm.options import DESCRIPTIONS, PRESET_PARAMETERS, PRESETS
    from jcm.parameters import descriptions, get
    from jcm.provenance import package_version, parameter_hash

    model, parameters = build_structure(experiment)
    options = [
        {
            "name": name,
            "value": value,
            "presets": {preset: getattr(chosen, name) for preset, chosen in PRESETS.items()},
            "presets_differ": len({getattr(chosen, name) for chosen in PRESETS.values()}) > 1,
            "description": DESCRIPTIONS[name],
        }
        for name, value in model.options._asdict().items()
    ]
    known_parameters = descriptions(parameters, "parameters.")
    for name in sorted({name for values in PRESET_PARAMETERS.values() for name in values}):
        if name not in known_parameters:
            continue
        values = {
            preset: f"{PRESET_PARAMETERS[preset].get(name, known_parameters[name].default):.4g}"
            for preset in PRESETS
        }
        value = float(str(get(parameters, name.removeprefix("parameters."))))
        options.append({
            "name": name,
            "value": f"{value:.4g}",
            "presets": values,
            "presets_differ": len(set(values.values())) > 1,
            "description": known_parameters[name].description,
        })  # fmt: skip
    tunable = [
        {
            "name": name,
            # The shortest text that stands for the value: 0.2 rather than 0.200000003.
            "value": float(str(get(parameters, name.removeprefix("parameters.")))),
            "units": known.units,
            "bounds": list(known.bounds),
            "description": known.description,
            "source": known.source,
        }
        for name, known in known_parameters.items()
    ]
    return {
        "version": package_version(),
        "model": model.name,
        "preset": model.preset,
        "grid": {
            "truncation": model.grid.truncation,
            "longitudes": model.grid.nlon,
            "latitudes": model.grid.nlat,
        },
        "levels": {
            "centres": model.levels.centre.tolist(),
            "half_levels": list(model.levels.half),
        },
        "time_step": model.time_step,
        "physics": type(getattr(model.physics, "inner", model.physics)).__name__,
        "dynamics": type(model.dynamics).__name__,
        "smooth": bool(getattr(model.physics, "smooth", False)),
        "schemes": model.physics.schemes(),
        "options": options,
        "parameters": tunable,
        "parameters_sha256": parameter_hash(parameters),
    }


def _print_tables(content: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Column, Table

    console = Console(markup=False)
    grid, levels = content["grid"], content["levels"]
    table = Table("", "", show_header=False, title=f"Model {content['model']}")
    for name, value in {
        "grid": f"T{grid['truncation']}, {grid['longitudes']} x {grid['latitudes']} points",
        "layers (sigma)": ", ".join(f"{x:.4g}" for x in levels["centres"]),
        "half levels": ", ".join(f"{x:.4g}" for x in levels["half_levels"]),
        "time step": f"{content['time_step']:g} s",
        "preset": content["preset"],
        "dynamics": content["dynamics"],
        "physics": content["physics"],
        "switches": "smooth forms compiled" if content["smooth"] else "exact",
        "version": content["version"],
    }.items():
        table.add_row(name, value)
    console.print(table)
    table = Table("", "scheme", "what it does", title="Schemes, in the order of a step")
    for number, line in enumerate(content["schemes"], 1):
        name, _, what = line.partition(": ")
        table.add_row(str(number), name, what)
    console.print(table)
    table = Table(
        Column("option: this model", no_wrap=True), "what it chooses, presets",
        title="Options, and parameters that presets set (* where the presets differ)")  # fmt: skip
    for option in content["options"]:
        mark = "*" if option["presets_differ"] else ""
        presets = ", ".join(f"{preset}: {value}" for preset, value in option["presets"].items())
        table.add_row(
            f"{option['name'].removeprefix('parameters.')}{mark}\n  {option['value']}",
            f"{option['description']}\n{presets}")
    console.print(table)
    table = Table(
        Column("parameter: value, bounds", no_wrap=True), "description, source",
        title="Parameters")  # fmt: skip
    for p in content["parameters"]:
        low, high = p["bounds"]
        table.add_row(
            f"{p['name'].removeprefix('parameters.')}\n"
            f"  {p['value']:.6g} {p['units']}\n  {low:g} to {high:g}",
            f"{p['description']}\n{p['source']}")  # fmt: skip
    console.print(table)


def _experiment(path: Path | None, **changes: dict[str, Any]) -> "Experiment":
    """Return the experiment of a file, with the options of the command line that are given."""
    from jcm.config import load_experiment

    given = {
        table: {key: value for key, value in values.items() if value is not None}
        for table, values in changes.items()
    }
    return load_experiment({} if path is None else path, given)


def _number_or_text(text: str | None) -> float | str | None:
    """Return the number that a text stands for; the experiment refuses texts that are none."""
    with contextlib.suppress(ValueError):
        return None if text is None else float(text)
    return text


def _report(path: Path) -> None:
    """Print what a run has made and how fast it was."""
    from jcm.run_directory import read_log

    log = read_log(path.parent)
    typer.echo(
        f"{path}: {log['days']:g} days of {log['model']}, "
        f"{log['simulated_years_per_day']:.3g} simulated years per day "
        f"({log['integrate_seconds']:.1f} s, and {log['compile_seconds']:.1f} s to compile)")


@contextlib.contextmanager
def _one_line_errors(directory: Path | None = None) -> Iterator[None]:
    """Turn what can go wrong into one message and exit status 1.

    With the directory of a run, an interruption names the command that goes on.
    """
    try:
        yield
    except (ValueError, KeyError, OSError, RuntimeError) as error:
        # The text of a KeyError has quotes around it.
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f"error: {message}", file=sys.stderr)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        resumable = directory is not None and (directory / "experiment.json").exists()
        advice = f"; go on with `jcm resume {directory}`" if resumable else ", nothing was written"
        print(f"interrupted{advice}", file=sys.stderr)
        raise typer.Exit(130) from None


if __name__ == "__main__":
    app()
