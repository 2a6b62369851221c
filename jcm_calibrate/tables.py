"""The tables of a calibration: which keys there are under `[calibration]`, with which defaults."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from jcm.calendar import parse_date
from jcm.config import EXPECTED
from jcm.tables import Experiment, Table
from jcm_calibrate.names import METHODS
from jcm_sensitivity.hints import hint

#: Where the numbers of a block of observations come from, other than a file.
TWIN, PACKAGED = "twin", "packaged"
#: Keys of a block for `jcm_calibrate.observations.operators.make_operator`, and those besides for
#: every source.
OPERATOR_ARGUMENTS = (
    "variable", "operator", "level", "levels", "pressure", "regions", "bands", "stations", "mask",
    "statistic", "second")  # fmt: skip
TWIN_ARGUMENTS = ("error", "periods", "chosen")
FILE_ARGUMENTS = ("units", "positive", "select", "window")
PACKAGED_ARGUMENTS = ("periods", "chosen", "pressure", "bands")


def _date(text: str) -> str:
    parse_date(text)
    return text


class FieldTable(Table):
    """A field that varies with latitude, added to the one of the experiment."""

    name: str
    order: int = Field(default=3, ge=0)
    width: float = Field(default=0.5, gt=0)


class WindowsTable(Table):
    """`[calibration.windows]`: initial states, and the run from each of them."""

    #: First days of runs that states are taken from.
    starts: list[Annotated[str, AfterValidator(_date)]] = Field(
        default=["2000-01-01"], min_length=1)
    #: States from each of these runs, and days between them.
    states: int = Field(default=2, ge=1)
    spacing_days: float = Field(default=5.0, gt=0)
    days: float = Field(default=1.0, gt=0)
    every: float | None = Field(default=None, gt=0)
    spin_up_days: float = Field(default=0.0, ge=0)
    relaxation_days: float | None = Field(default=None, gt=0)
    batch_size: int = Field(default=1, ge=1)


class FitTable(Table):
    """`[calibration.fit]`: the method, and what `minimise` takes besides."""

    method: str = "gauss_newton"
    steps: int = Field(default=20, ge=1)
    learning_rate: float = Field(default=0.05, gt=0)
    budget: float | None = Field(default=None, gt=0)
    #: Number of starts: the reference, then draws from the prior.
    starts: int = Field(default=1, ge=1)
    #: Values of parameters to start from; default those of the experiment.
    start: dict[str, float] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)


class SampleTable(Table):
    """`[calibration.sample]`: arguments of `sample_nuts`."""

    warmup: int = Field(default=100, ge=1)
    draws: int = Field(default=200, ge=4)
    chains: int = Field(default=4, ge=1)
    max_tree_depth: int = Field(default=5, ge=1)
    target_accept: float = Field(default=0.8, gt=0, lt=1)
    chain_method: Literal["vectorized", "sequential", "parallel"] = "sequential"
    #: Draws for which the data are predicted.
    predictions: int = Field(default=50, ge=1)


class EnsembleTable(Table):
    """`[calibration.ensemble]`: members drawn from the prior."""

    members: int = Field(default=16, ge=1)
    batch: int = Field(default=4, ge=1)
    #: Variables kept of each member; default those that the observations need.
    variables: list[str] | None = None


class CalibrationTable(Table):
    """`[calibration]`: parameters, observations, and how to fit, sample and run ensembles."""

    title: str = "Calibration"
    #: Names, groups or patterns of parameters.
    parameters: list[str] = Field(default_factory=list)
    fields: list[FieldTable] = Field(default_factory=list)
    #: Distribution by name of the parameter; standard deviation of the logit where there is none.
    priors: dict[str, dict[str, Any]] = Field(default_factory=dict)
    spread: float = Field(default=1.0, gt=0)
    allow_outside_bounds: bool = False
    seed: int = 0
    windows: WindowsTable = Field(default_factory=WindowsTable)
    #: A block each: `from` is `twin`, `packaged` or a file, the rest goes to the operator.
    observations: dict[str, dict[str, Any]] = Field(default_factory=dict)
    #: Values of parameters that observations `from = "twin"` are made with.
    truth: dict[str, float] = Field(default_factory=dict)
    #: Whether errors are added to these observations.
    noise: bool = True
    fit: FitTable = Field(default_factory=FitTable)
    sample: SampleTable = Field(default_factory=SampleTable)
    ensemble: EnsembleTable = Field(default_factory=EnsembleTable)


def calibration_table(content: Mapping[str, Any]) -> CalibrationTable:
    """Return the checked table of an experiment.

    Raises
    ------
    ValueError
        If a key or a value is not valid, or there are no parameters or observations.
    """
    try:
        table = CalibrationTable(**content)
    except ValidationError as error:
        raise ValueError("; ".join(map(_in_words, error.errors()))) from None
    if not table.parameters and not table.fields:
        raise ValueError(
            "[calibration] needs parameters = [...], names of what is to be estimated; "
            "`jcm describe` lists them")
    if not table.observations:
        raise ValueError(
            "[calibration] needs a table [calibration.observations.NAME] for each block of "
            'observations, with from = "twin", "packaged" or a file')
    for name, block in table.observations.items():
        _check_block(name, block)
    if table.fit.method not in METHODS:
        raise ValueError(
            f"[calibration.fit] has an unknown method {table.fit.method!r}; "
            f"{hint(table.fit.method, METHODS)}available: {', '.join(METHODS)}")
    twins = [name for name, block in table.observations.items() if block.get("from") == TWIN]
    if twins and not table.truth:
        raise ValueError(
            f"observations.{twins[0]} comes from a twin, which needs [calibration.truth]: values "
            "of the parameters that it is made with")
    return table


def check_tables(experiment: Experiment) -> None:
    """Refuse what would be ignored: lengths and dates of a calibration are those of its windows.

    Raises
    ------
    ValueError
        If there is such a table or key.
    """
    if "run" in experiment.model_fields_set:
        raise ValueError(
            "[run] has no meaning for a calibration; leave it out, and give days and every in "
            "[calibration.windows]")
    if "start" in experiment.forcing.model_fields_set:
        raise ValueError(
            "[forcing] start has no meaning for a calibration; give starts = [...] in "
            "[calibration.windows]")


def _check_block(name: str, block: Mapping[str, Any]) -> None:
    """Refuse a block of observations that lacks a key, or has one that is unknown."""
    where, source = f"[calibration.observations.{name}]", block.get("from")
    if not isinstance(source, str):
        raise ValueError(f'{where} needs from = "twin", "packaged" or the path of a file')
    known = {
        TWIN: (*TWIN_ARGUMENTS, *OPERATOR_ARGUMENTS),
        PACKAGED: ("names", *PACKAGED_ARGUMENTS, *OPERATOR_ARGUMENTS),
    }.get(source, ("from_file", *FILE_ARGUMENTS, *TWIN_ARGUMENTS, *OPERATOR_ARGUMENTS))
    for key in block:
        if key not in ("from", *known):
            raise ValueError(f"{where} has no key {key!r}; {hint(key, known)}available: "
                             f"from, {', '.join(dict.fromkeys(known))}")  # fmt: skip
    for key in () if source == PACKAGED else ("variable", "error"):
        if key not in block:
            raise ValueError(
                f"{where} needs {key} = ...: " + (
                    "the name of an output variable of the model, e.g. precipitation_flux"
                    if key == "variable" else
                    "the standard deviation of the error of a datum, in the units of the model"))


def _in_words(problem: Mapping[str, Any]) -> str:
    """Say what is wrong with a key: where, what was expected, what came."""
    *tables, key = problem["loc"]
    table: Any = CalibrationTable
    for name in tables:
        known = getattr(table, "model_fields", {})
        table = known[name].annotation if name in known else None
    where = ".".join(["calibration", *map(str, tables)])
    if problem["type"] == "extra_forbidden":
        known = list(getattr(table, "model_fields", {}))
        return (f"[{where}] has no key {key!r}; {hint(str(key), known)}available: "
                f"{', '.join(known)}")
    if problem["type"] == "value_error":
        return f"[{where}] {key}: {problem['msg'].removeprefix('Value error, ')}"
    message = problem["msg"].removeprefix("Input should be ")
    expected = EXPECTED.get(problem["type"], message)
    return f"[{where}] {key}: expected {expected}, got {problem['input']!r}"
