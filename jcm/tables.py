"""The tables of an experiment: which keys there are, of what type, with which defaults."""

import datetime
import math
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from jcm.arguments import check_pressure_levels
from jcm.calendar import parse_date
from jcm.options import Options


class Table(BaseModel):
    """A table of an experiment: no unknown keys, no silent conversions."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, protected_namespaces=())


_choices: Any = {name: (hint | None, None) for name, hint in get_type_hints(Options).items()}
_OptionTable: Any = create_model("_OptionTable", __base__=Table, **_choices)


class ModelTable(_OptionTable):
    """`[model]`: structure, and any option of `jcm.options.Options`."""

    grid: str = "T31L8"
    preset: str = "speedy"
    physics: str = "speedy"
    dynamics: str = "speedy"
    time_step: float | None = None
    half_levels: list[float] | None = None
    smooth: bool = False


def _date(value: Any) -> Any:
    """TOML has dates of its own; a text is checked here."""
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, str):
        parse_date(value)
    return value


class ForcingTable(Table):
    """`[forcing]`: boundary conditions and the first day."""

    kind: Literal["packaged", "speedy", "aquaplanet", "uniform", "files"] = "packaged"
    start: Annotated[str | None, BeforeValidator(_date)] = None
    #: One file with all fields, or a file per field.
    path: str | None = None
    paths: dict[str, str] | None = None
    names: dict[str, str] | None = None
    units: dict[str, str] | None = None
    #: File with monthly anomalies of sea surface temperature, and its first month, YYYY-MM.
    anomaly: str | None = None
    anomaly_start: str | None = None
    sea_surface_temperature: float | None = None


class StateTable(Table):
    """`[state]`: `spun-up`, `rest`, or a file of spectra."""

    kind: str = "spun-up"
    seed: int = 0


def _every(value: Any) -> Any:
    """Return a number of days or the word `month`."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value == "month" or (number and 0 < value < math.inf):
        return value
    raise ValueError(f"expected a number of days greater than 0, or 'month', got {value!r}")


def _pressures(value: Any) -> Any:
    """Pydantic checks the types, the limits are checked here."""
    if isinstance(value, list) and all(type(x) in (int, float) for x in value):
        check_pressure_levels(value)
    return value


class RunTable(Table):
    """`[run]`: length and output."""

    days: float = Field(default=30.0, gt=0)
    every: Annotated[float | str, BeforeValidator(_every)] = 1.0
    #: False: instantaneous fields.
    average: bool = True
    variables: list[str] | None = None
    #: In hPa.
    pressure_levels: Annotated[list[float] | None, BeforeValidator(_pressures)] = None
    format: Literal["netcdf", "zarr"] = "netcdf"
    chunk: float | None = Field(default=None, gt=0)
    allow_out_of_bounds: bool = False


class Experiment(Table):
    """An experiment: its tables, and the folder that its paths start from."""

    model: ModelTable = Field(default_factory=ModelTable)
    parameters: dict[str, Any] = Field(default_factory=dict)
    forcing: ForcingTable = Field(default_factory=ForcingTable)
    state: StateTable = Field(default_factory=StateTable)
    run: RunTable = Field(default_factory=RunTable)
    # Tables that other packages read.
    target: dict[str, Any] = Field(default_factory=dict)
    sensitivity: dict[str, Any] = Field(default_factory=dict)
    response: dict[str, Any] = Field(default_factory=dict)
    calibration: dict[str, Any] = Field(default_factory=dict)
    folder: Annotated[Path, Field(exclude=True)] = Path()
