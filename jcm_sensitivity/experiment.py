"""What `jcm-sensitivity map` computes: the default experiment, or one from a TOML file."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jcm.build import build
from jcm.calendar import format_date
from jcm.config import load_experiment
from jcm.initial import default_inputs
from jcm.model import build_model
from jcm.simulate import Inputs
from jcm.tables import Experiment as ExperimentFile
from jcm_sensitivity.adjoint import Experiment, model_experiment
from jcm_sensitivity.arguments import SEA_SURFACE_TEMPERATURE, check_every, wrt_of
from jcm_sensitivity.periods import last
from jcm_sensitivity.targets import Target, mean
from jcm_sensitivity.targets_file import target_from_table


class MapExperiment(NamedTuple):
    """Run, target and inputs of a sensitivity map."""

    run: Experiment
    inputs: Inputs
    target: Target
    #: Names of the inputs with respect to which the target is differentiated.
    wrt: tuple[str, ...]

    @property
    def description(self) -> str:
        """Model, switches and dates in words."""
        return describe_run(self.run, self.inputs)


def describe_run(run: Experiment, inputs: Inputs) -> str:
    """Return model, switches and dates of a run in words."""
    model, start = run.model, format_date(int(inputs.forcing.start_day))
    kinds = {True: ", smooth switches", False: ", exact switches", None: ""}
    kind = kinds[getattr(model.physics, "smooth", None)]
    return f"{model.name}, preset {model.preset}{kind}, {run.days:g} days from {start}"


def default_experiment(*, smooth: bool = True) -> MapExperiment:
    """Return the default: precipitation over the tropical Pacific on the last of 5 days, T31L8.

    With `smooth`, the switches of the physics have their suggested widths, so that a derivative
    sees what a finite change gains by switching; else they are exact.
    """
    model = build_model("T31L8", smooth=smooth)
    target = mean("precipitation_flux", region="tropical_pacific", days=last(1))
    run = model_experiment(model, days=5, every=1, observe=target.variables)
    return MapExperiment(run, default_inputs(model), target, (SEA_SURFACE_TEMPERATURE,))


def read_experiment(path: str | Path, *, smooth: bool | None = None) -> MapExperiment:
    """Return the experiment of a TOML file; `smooth` as in `load_with_switches`.

    Tables of the model as in `jcm.config.load_experiment`; `[target]` as in `target_from_table`;
    `[sensitivity]` with `wrt`, a list of names of inputs, default sea surface temperature.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a key or a value is not valid.
    """
    experiment = load_with_switches(path, smooth)
    wrt = wrt_of(experiment)
    target = target_from_table(experiment.target)
    run, inputs = built_run(experiment, target.variables, "a sensitivity")
    return MapExperiment(run, inputs, target, wrt)


def load_with_switches(path: str | Path, smooth: bool | None) -> ExperimentFile:
    """Return the experiment of a file with the switches that are asked for.

    Parameters
    ----------
    path
        The file.
    smooth
        Smooth or exact switches. None: those of `smooth` in `[model]`; a file that says nothing
        has smooth ones.

    Raises
    ------
    FileNotFoundError, ValueError
        As `jcm.config.load_experiment`.
    """
    experiment = load_experiment(path)
    if smooth is None:
        smooth = experiment.model.smooth if "smooth" in experiment.model.model_fields_set else True
    model = experiment.model.model_copy(update={"smooth": smooth})
    return experiment.model_copy(update={"model": model})


def built_run(
    experiment: ExperimentFile, observe: Sequence[str] | None, purpose: str
) -> tuple[Experiment, Inputs]:
    """Return the run of a file and its inputs.

    Parameters
    ----------
    experiment
        What `jcm.config.load_experiment` returned.
    observe
        Variables that the run observes, default all.
    purpose
        What the run is for, in words.

    Raises
    ------
    ValueError
        If the interval of output is no number of days.
    """
    check_every(experiment, purpose)
    model, inputs, options = build(experiment)
    run = model_experiment(
        model, days=options["days"], every=options["every"], average=options["average"],
        observe=observe)  # fmt: skip
    return run, inputs
