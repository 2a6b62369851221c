"""Finds the usable window of gradients: measures, writes, draws and prints it."""

import time
from pathlib import Path

import numpy as np
import xarray as xr
from rich.console import Console
from rich.table import Table

from jcm.output import write_dataset
from jcm_sensitivity.commands.shared import status
from jcm_sensitivity.default_horizons import write_default_table
from jcm_sensitivity.ensembles import initial_states
from jcm_sensitivity.experiment import MapExperiment
from jcm_sensitivity.horizon_plot import plot_horizon
from jcm_sensitivity.maps import note_on_switches
from jcm_sensitivity.measure_horizons import MEASURED, measure_default_horizons
from jcm_sensitivity.model_horizon import horizon
from jcm_sensitivity.work.shared import begin


def find_horizon(
    path: Path | None, output: Path, smooth: bool | None, states: int, spacing: float,
    sizes: dict[str, list[float]], tolerance: float, norms: bool, console: Console,
) -> None:  # fmt: skip
    """Measure the usable window; `sizes` has `leads` and `amplitudes`, in increasing order."""
    setup = begin(path, smooth, output, console)
    start, model = time.perf_counter(), setup.run.model
    with status(console, f"Running {(states - 1) * spacing:g} days to {states} initial states"):
        members = initial_states(model, setup.inputs, states, spacing)
    leads = sizes["leads"]
    chosen = sorted({leads[0], leads[len(leads) // 2], leads[-1]}) if norms else []
    with status(console, "Compiling, then runs and tangent runs from each state"):
        dataset = horizon(
            model, members, setup.target, wrt=setup.wrt, direction=setup.target.region,
            gradient_leads=chosen, tolerance=tolerance, every=_every(setup, leads),
            leads=leads, amplitudes=sizes["amplitudes"],
            progress=lambda done, count: console.print(f"  state {done} of {count}"))
    write_dataset(dataset, output / "horizon.nc")
    written = [output / "horizon.nc"]
    for name in setup.wrt:
        short = f"horizon_{name.split('.', 1)[-1].replace('.', '_')}"
        picture = output / f"{short if len(setup.wrt) > 1 else 'horizon'}.png"
        written.append(plot_horizon(dataset, picture, name=name))
    for name in setup.wrt:
        _print_table(console, dataset.sel(input=name).isel(target=0), name)
    note = note_on_switches(model)
    if note and bool((dataset["usable_window_days"] == 0).any()):
        console.print(
            "Note: where gradient and response differ at the first lead already, it is for "
            f"switches or curvature, not for chaos. {note}", soft_wrap=True)  # fmt: skip
    console.print(
        f"Wall time: {time.perf_counter() - start:.1f} s\n"
        f"Written: {', '.join(map(str, written))}", soft_wrap=True)  # fmt: skip


def _every(setup: MapExperiment, leads: list[float]) -> float | None:
    """Return the interval of output of the experiment where it meets all leads."""
    parts = np.array(leads) / setup.run.every
    return setup.run.every if np.allclose(parts, np.round(parts)) and parts.min() > 0.5 else None


def _print_table(console: Console, at: xr.Dataset, name: str) -> None:
    """Print the median ratio by lead, and the window of each amplitude."""
    units = str(at["input_units"].values)
    table = Table(title=f"Gradient over finite response, {name}: median over initial states",
                  title_justify="left")  # fmt: skip
    table.add_column("lead [days]", justify="right")
    for amplitude in at["amplitude"].values:
        table.add_column(f"amplitude {amplitude:g} {units}".removesuffix(" 1"), justify="right")
    for lead in at["lead"].values:
        ratios = at["ratio"].sel(lead=lead).median("state").values
        table.add_row(f"{lead:g}", *(f"{x:.3f}" for x in ratios))
    table.add_section()
    table.add_row("usable window", *(
        f"{'>= ' if bool(one['usable_window_days_at_least']) else ''}"
        f"{float(one['usable_window_days']):g} ({float(one['usable_window_days_low']):g}-"
        f"{float(one['usable_window_days_high']):g}) days"
        for one in (at.sel(amplitude=x) for x in at["amplitude"].values)))  # fmt: skip
    console.print(table)


def write_default_windows(console: Console) -> None:
    """Measure the table of windows by type of variable, and write it into the package."""
    with status(console, "Measuring the usable windows, up to 10 minutes"):
        table = measure_default_horizons(progress=lambda kind, done, count: console.print(
            f"  {kind} switches: state {done} of {count}"))  # fmt: skip
    path = write_default_table(table)
    show = Table(title="Usable window [days]", title_justify="left")
    for heading in ("variable", "exact switches", "smooth switches"):
        show.add_column(heading)
    for kind in MEASURED:
        show.add_row(kind, *(
            f"{'>= ' if row['at_least'] else ''}{row['days']:g} ({row['low']:g}-{row['high']:g})"
            for row in (table[x][kind] for x in ("exact", "smooth"))))  # fmt: skip
    console.print(show)
    console.print(f"Written: {path}", soft_wrap=True)
