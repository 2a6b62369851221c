"""Integrate one configuration month by month, so that a study that was stopped goes on.

A folder holds `configuration.json`, `boundaries.nc`, one file of means over all time steps for each
month, `monthly/YYYY-MM.nc`, and restart files, see `jcm.restart`, with the number of months done.
"""

import calendar
import dataclasses
import datetime
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from climate import FIELDS

import jcm
from jcm.files import write_text
from jcm.output import first_day, to_dataset, write_dataset
from jcm.parameters import get, leaf_names
from jcm.restart import Restart, identity, newest_restart, write_restart

VARIABLES = tuple(dict.fromkeys(field.variable for field in FIELDS.values()))


@dataclasses.dataclass(frozen=True)
class Configuration:
    """All that decides the course of a run."""

    preset: str = "speedy_f90"
    dynamics: str = "speedy"
    grid: str = "T30L8"
    #: `speedy`: its own boundary files; `packaged`: those of this package.
    forcing: str = "speedy"
    options: dict[str, str] = dataclasses.field(default_factory=dict)
    #: Parameters other than the preset has, by dotted name.
    parameters: dict[str, float] = dataclasses.field(default_factory=dict)
    #: Seconds; None: the default of the grid.
    time_step: float | None = None
    #: File with the spectrum `phis_spec` of surface geopotential, m by n by re/im [m2 s-2]; None:
    #: that of the forcing.
    orography: str | None = None
    #: White noise added to the initial temperature [K], and its seed.
    perturb: float = 0.0
    seed: int = 0
    float64: bool = False
    #: The run starts from rest on 1 January of this year.
    start_year: int = 1982
    #: Days of a month; None: those of the calendar.
    month_length: int | None = None

    @property
    def name(self) -> str:
        """What differs from the reference configuration, as the name of a folder."""
        parts = [self.preset, self.grid]
        parts += [] if self.dynamics == "speedy" else [self.dynamics]
        parts += [] if self.forcing == "speedy" else [self.forcing]
        parts += [f"{key}-{value}" for key, value in sorted(self.options.items())]
        parts += [f"{k.split('.')[-1]}-{v:g}" for k, v in sorted(self.parameters.items())]
        parts += [f"dt{self.time_step:g}"] if self.time_step else []
        parts += ["orography-of-the-reference"] if self.orography else []
        parts += [f"seed{self.seed}"] if self.perturb else []
        parts += ["float64"] if self.float64 else []
        parts += [f"{self.month_length}-day-months"] if self.month_length else []
        return "_".join(parts)

    def facts(self) -> dict[str, Any]:
        """Return everything by name, without where a file is."""
        file = Path(self.orography).name if self.orography else None
        return dataclasses.asdict(self) | {"orography": file}


def build(configuration: Configuration) -> tuple[jcm.Model, jcm.Inputs]:
    """Return the model, and its inputs at rest.

    Raises
    ------
    ValueError
        If a name is unknown.
    FileNotFoundError
        If the boundary files of SPEEDY have not been fetched.
    """
    jax.config.update("jax_enable_x64", configuration.float64)
    model = jcm.build_model(
        configuration.grid, preset=configuration.preset, dynamics=configuration.dynamics,
        time_step=configuration.time_step, **configuration.options)  # pyright: ignore
    forcings = {"speedy": jcm.speedy_forcing, "packaged": jcm.packaged_forcing}
    if configuration.forcing not in forcings:
        raise ValueError(
            f"unknown forcing {configuration.forcing!r}; available: {', '.join(forcings)}")
    start = f"{configuration.start_year}-01-01"
    forcing = forcings[configuration.forcing](
        model.grid, start=start, gravity=model.constants.gravity)
    if configuration.orography:
        geopotential = reference_orography(model, configuration.orography)
        forcing = eqx.tree_at(lambda f: f.surface_geopotential, forcing, geopotential)
    changes = {k.removeprefix("parameters."): v for k, v in configuration.parameters.items()}
    parameters = jcm.insert(jcm.reference_parameters(model), changes)
    inputs = jcm.default_inputs(
        model, start=start, state="rest", forcing=forcing, parameters=parameters)
    if configuration.perturb:
        inputs = perturbed(model, inputs, configuration.perturb, configuration.seed)
    return model, inputs


def reference_orography(model: jcm.Model, path: str) -> jax.Array:
    """Return on the grid (lon, lat) the surface geopotential of which a file has the spectrum.

    The reference analyses its orography twice on latitudes that are not quite Gaussian, which
    leaves ripples along the meridians that exact latitudes do not give.

    Raises
    ------
    ValueError
        If the file has no such spectrum of the truncation of the model.
    """
    with xr.open_dataset(path) as dataset:
        shape = (model.grid.truncation + 1, model.grid.truncation + 2, 2)
        if "phis_spec" not in dataset or dataset["phis_spec"].shape != shape:
            raise ValueError(
                f"expected phis_spec with shape {shape} in {path}; got "
                f"{dataset['phis_spec'].shape if 'phis_spec' in dataset else 'no such variable'}")
        spectrum = jnp.asarray(dataset["phis_spec"].values.transpose(0, 2, 1)[:, :, None])
    return model.transform.synthesis(model.transform.truncated(spectrum))[:, 0]


def perturbed(model: jcm.Model, inputs: jcm.Inputs, size: float, seed: int) -> jcm.Inputs:
    """Return inputs with white noise of this standard deviation [K] in temperature."""
    shape = (model.grid.nlon, model.levels.count, model.grid.nlat)
    noise = size * np.random.default_rng(seed).standard_normal(shape)
    noise = jnp.asarray(noise, inputs.state.current.temperature.dtype)
    noise = model.transform.truncated(model.transform.analysis(noise))
    temperatures = lambda x: (x.state.previous.temperature, x.state.current.temperature)  # noqa: E731
    return eqx.tree_at(temperatures, inputs, tuple(x + noise for x in temperatures(inputs)))


def labels(configuration: Configuration, months: int) -> Iterator[tuple[str, int]]:
    """Yield year and month, YYYY-MM, and the number of days, for so many months."""
    for index in range(months):
        year, month = configuration.start_year + index // 12, index % 12 + 1
        days = configuration.month_length or calendar.monthrange(year, month)[1]
        yield f"{year:04d}-{month:02d}", days


def integrate(configuration: Configuration, directory: Path, months: int) -> list[Path]:
    """Integrate so many months from rest, or what is missing of them; return their files.

    Raises
    ------
    ValueError
        If the folder holds another configuration.
    FloatingPointError
        If a field becomes infinite or undefined.
    """
    wanted = list(labels(configuration, months))
    paths = [directory / "monthly" / f"{label}.nc" for label, _ in wanted]
    missing = [i for i, path in enumerate(paths) if not path.exists()]
    if not missing and (directory / "configuration.json").exists():
        _check(directory, configuration.facts(), part="configuration")
        return paths
    model, inputs = build(configuration)
    (directory / "monthly").mkdir(parents=True, exist_ok=True)
    _check(directory, _facts(configuration, model, inputs))
    _write_boundaries(model, inputs, directory / "boundaries.nc")
    steps = np.cumsum([0, *(days * model.steps_per_day for _, days in wanted)])
    edges, identified = tuple(steps.tolist()), identity(model, inputs)
    done = 0
    restart = newest_restart(directory, edges, identified, inputs.state)
    if restart is not None and all(path.exists() for path in paths[: restart.outputs]):
        done, inputs = restart.outputs, inputs.with_state(restart.state)
    print(f"{configuration.name}: {done} of {months} months are there", flush=True)
    seconds: list[float] = []
    for index in range(done, months):
        label, days = wanted[index]
        began = time.perf_counter()
        inputs = _month(model, inputs, paths[index], days)
        write_restart(
            directory, identified, Restart(index + 1, edges[index + 1], None, inputs.state))
        seconds.append(time.perf_counter() - began)
        # The first month holds the compilation.
        typical = float(np.mean(seconds[1:] or seconds))
        end = datetime.datetime.now() + datetime.timedelta(seconds=typical * (months - index - 1))
        print(f"{configuration.name} {label}: {index + 1} of {months} months, {seconds[-1]:.1f} s; "
              f"ends about {end:%d %b %H:%M}", flush=True)  # fmt: skip
    return paths


def _month(model: jcm.Model, inputs: jcm.Inputs, path: Path, days: int) -> jcm.Inputs:
    """Integrate a month, write its means, and return the inputs that follow."""
    state, fields = jcm.simulate(model, inputs, days=days, observe=VARIABLES)
    fields = {name: np.asarray(values, np.float32) for name, values in fields.items()}
    bad = [name for name, values in fields.items() if not np.isfinite(values).all()]
    if bad:
        raise FloatingPointError(
            f"{', '.join(bad)} became non-finite in {path.stem}; shorten --time-step "
            f"(now {model.time_step:g} s)")
    dataset = to_dataset(
        model, fields, inputs=inputs, start=first_day(model, inputs), every=days)
    write_dataset(dataset, path)
    return inputs.with_state(state)


def _facts(
    configuration: Configuration, model: jcm.Model, inputs: jcm.Inputs
) -> dict[str, Any]:
    return {
        "configuration": configuration.facts(),
        "options": model.options._asdict(),
        "time_step": model.time_step,
        "parameters": {
            name: float(get(inputs.parameters, name)) for name in leaf_names(inputs.parameters)},
    }


def _check(directory: Path, facts: dict[str, Any], part: str | None = None) -> None:
    """Note the facts of a configuration in its folder, or compare them with what is noted."""
    path = directory / "configuration.json"
    if not path.exists():
        write_text(path, json.dumps(facts, indent=1) + "\n")
        return
    noted = json.loads(path.read_text())
    if part is not None:
        noted, facts = {part: noted[part]}, {part: facts}
    facts = json.loads(json.dumps(facts))
    # What an older file does not have is None: the study did not know it.
    differences = _differences(noted, facts)
    if differences:
        raise ValueError(
            f"{directory} holds another run: {differences}. Choose another --output "
            "or remove the folder")


def _differences(noted: Any, wanted: Any, name: str = "") -> str:
    """Say which numbers of two nested dictionaries differ."""
    if not isinstance(noted, dict) or not isinstance(wanted, dict):
        return f"{name} is {noted!r} there and {wanted!r} here"
    keys = [key for key in noted | wanted if noted.get(key) != wanted.get(key)]
    parts = [_differences(noted.get(k), wanted.get(k), f"{name} {k}".strip()) for k in keys]
    return ", ".join(filter(None, parts))


def _write_boundaries(model: jcm.Model, inputs: jcm.Inputs, path: Path) -> None:
    """Write land fraction and height of the surface."""
    dims = ("lat", "lon")
    height = np.asarray(inputs.forcing.surface_geopotential).T / model.constants.gravity
    dataset = xr.Dataset(
        {
            "land_fraction": (dims, np.asarray(inputs.forcing.land_fraction).T, {"units": "1"}),
            "surface_height": (dims, height, {"units": "m"}),
        },
        coords={"lat": model.grid.latitude, "lon": model.grid.longitude},
    )
    write_dataset(dataset, path)
