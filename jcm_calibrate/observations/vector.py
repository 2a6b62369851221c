"""The observation vector: what a run is compared with, datum by datum.

A block belongs to one operator: values, their standard deviations, and which numbers of the
operator they are. Values are in the units and with the sign of the model; what was converted on
the way in is written in the facts of the block. All blocks together, with an error model over the
whole vector, are `Observations`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jcm_calibrate.observations.errors import ErrorModel, diagonal
from jcm_calibrate.observations.operators import Operator, make_operator
from jcm_calibrate.observations.periods import Periods, make_periods
from jcm_sensitivity.hints import hint

Fields = Mapping[str, Any]


class Facts(NamedTuple):
    """Where values come from."""

    source: str = ""
    #: Years of the data.
    years: str = ""
    licence: str = ""
    #: What was converted when they were read, e.g. `mm day-1, positive down`.
    converted_from: str = ""
    #: How the standard deviation was found.
    error: str = "given"


class Observation(eqx.Module):
    """One block of the observation vector; made by `observation`."""

    operator: Operator
    periods: Periods
    #: Numbers of the operator that were observed: of one period if all periods have the same,
    #: of all periods in a row otherwise.
    kept: Int[Array, "kept"]
    values: Float[Array, "datum"]
    #: Standard deviation of the error of each datum.
    standard_deviation: Float[Array, "datum"]
    name: str = eqx.field(static=True)
    #: Whether the same numbers are observed in all periods.
    uniform: bool = eqx.field(static=True)
    facts: Facts = eqx.field(static=True)

    @property
    def size(self) -> int:
        """Number of data."""
        return self.values.shape[0]

    @property
    def units(self) -> str:
        """Units of the values, those of the model."""
        return self.operator.units

    @property
    def labels(self) -> tuple[str, ...]:
        """What each datum is called."""
        places = self.operator.labels
        kept = np.asarray(self.kept)
        if self.uniform:
            count = self.size // max(len(kept), 1)
            kept = (np.arange(count)[:, None] * len(places) + kept).ravel()
        return tuple(
            f"{self.name}, {places[i % len(places)]}, {self.periods.label(i // len(places))}"
            for i in kept.tolist())

    def predict(self, fields: Fields) -> Float[Array, "datum"]:
        """Return what the fields of a run say these values are [units of the values].

        Raises
        ------
        ValueError
            If a field is missing or has another shape than the operator was made for.
        """
        found = self.operator(fields, self.periods)
        if self.uniform:
            predicted = found[:, self.kept].ravel()
        else:
            predicted = found.ravel()[self.kept]
        if predicted.shape != self.values.shape:
            raise ValueError(
                f"{self.name}: the run gives {predicted.shape[0]} data, observed are {self.size}; "
                f"the observations belong to another number of outputs than {found.shape[0]}")
        return predicted


def observation(
    name: str,
    operator: Operator,
    values: Any,
    standard_deviation: Any,
    *,
    periods: Periods | None = None,
    facts: Facts = Facts(),  # noqa: B008  (a tuple of strings)
) -> Observation:
    """Return one block from values in the units and with the sign of the model.

    Parameters
    ----------
    name
        What it is called.
    operator, periods
        What is observed, and when; default the mean over the run.
    values
        (period, place) as the operator gives them, NaN where nothing is observed.
    standard_deviation
        Of the error, the same shape or one number [units of the values].
    facts
        Where they come from.

    Raises
    ------
    ValueError
        If shapes disagree, nothing is observed, or an error is not positive.
    """
    periods = make_periods("mean") if periods is None else periods
    array = np.asarray(values, float)
    places = len(operator.labels)
    count = array.shape[0] if periods.kind == "each" and array.ndim == 2 else periods.count(1)
    if array.shape != (count, places):
        raise ValueError(
            f"{name}: expected values of shape {(count, places)}, that is (period, place) for "
            f"{operator.description}; got {array.shape}")
    known = np.isfinite(array)
    if not known.any():
        raise ValueError(
            f"{name}: no datum is left, all {array.size} are missing or masked; choose another "
            "region, mask or period")
    spread = np.broadcast_to(np.asarray(standard_deviation, float), array.shape)[known]
    uniform = bool((known == known[0]).all())
    kept = np.flatnonzero(known[0] if uniform else known)
    dtype = jnp.result_type(float)
    block = Observation(
        operator, periods, jnp.asarray(kept), jnp.asarray(array[known], dtype),
        jnp.asarray(spread, dtype), name, uniform, facts)
    diagonal(spread, labels=block.labels)
    return block


class Observations(eqx.Module):
    """The observation vector and its error model; a pytree whose arrays are leaves."""

    blocks: tuple[Observation, ...]
    errors: ErrorModel

    def __init__(self, blocks: Sequence[Observation], errors: ErrorModel | None = None):
        """Join blocks; without an error model, errors are independent as the blocks give them.

        Raises
        ------
        ValueError
            If there are no blocks, two have the same name, or the error model has another size.
        """
        self.blocks = tuple(blocks)
        names = [block.name for block in self.blocks]
        if not names:
            raise ValueError("observations need one block at least")
        double = [name for name in names if names.count(name) > 1]
        if double:
            raise ValueError(f"two blocks are called {double[0]!r}; give each its own name")
        size = sum(block.size for block in self.blocks)
        if errors is None:
            spread = jnp.concatenate([block.standard_deviation for block in self.blocks])
            errors = ErrorModel(spread, jnp.zeros((size, 0), spread.dtype), "given")
        if errors.size != size:
            raise ValueError(
                f"the error model has {errors.size} data, the observations have {size}; make it "
                "for these observations")
        self.errors = errors

    @property
    def size(self) -> int:
        """Number of data."""
        return self.errors.size

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the blocks."""
        return tuple(block.name for block in self.blocks)

    @property
    def values(self) -> Float[Array, "datum"]:
        """All values, block by block."""
        return jnp.concatenate([block.values for block in self.blocks])

    @property
    def standard_deviation(self) -> Float[Array, "datum"]:
        """Standard deviation of the error of each datum."""
        return self.errors.standard_deviation

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the output variables that a run must observe."""
        return tuple(dict.fromkeys(
            name for block in self.blocks for name in block.operator.variables))

    @property
    def labels(self) -> tuple[str, ...]:
        """What each datum is called: block, place, period."""
        return tuple(label for block in self.blocks for label in block.labels)

    @property
    def units(self) -> tuple[str, ...]:
        """Units of each datum."""
        return tuple(block.units for block in self.blocks for _ in range(block.size))

    @property
    def log_normalisation(self) -> Float[Array, ""]:
        """Half the logarithm of the determinant of 2 pi times the error covariance."""
        return 0.5 * (self.errors.log_determinant + self.size * jnp.log(2 * jnp.pi))

    def predict(self, fields: Fields) -> Float[Array, "datum"]:
        """Return what the fields of a run say the values are [units of the values].

        Parameters
        ----------
        fields
            What `jcm.simulate` returned: name -> (outputs, level, lon, lat) or (outputs, lon, lat).

        Raises
        ------
        ValueError
            If a variable is missing or shapes are not those of the operators.
        """
        return jnp.concatenate([block.predict(fields) for block in self.blocks])

    def whiten(self, difference: Float[Array, "datum"]) -> Float[Array, "datum"]:
        """Return a difference from the values in standard deviations, made independent."""
        return self.errors.whiten(difference)

    def select(self, names: Sequence[str]) -> "Observations":
        """Return the observations of some blocks, in the order of the names.

        Raises
        ------
        ValueError
            If a name is unknown.
        """
        wanted = (names,) if isinstance(names, str) else tuple(names)
        for name in wanted:
            if name not in self.names:
                raise ValueError(
                    f"there is no observation {name!r}; {hint(name, self.names)}available: "
                    f"{', '.join(self.names)}")
        numbers = [self.names.index(name) for name in wanted]
        rows = np.concatenate([self._rows(number) for number in numbers])
        return Observations([self.blocks[number] for number in numbers], self.errors.take(rows))

    def _rows(self, number: int) -> np.ndarray:
        """Return the numbers of the data of a block."""
        start = sum(block.size for block in self.blocks[:number])
        return np.arange(start, start + self.blocks[number].size)

    def with_values(self, values: Float[Array, "datum"]) -> "Observations":
        """Return the same observations with other values.

        Raises
        ------
        ValueError
            If the number of values is another.
        """
        if values.shape != (self.size,):
            raise ValueError(f"expected values of shape {(self.size,)}, got {values.shape}")
        return Observations([
            eqx.tree_at(lambda b: b.values, block, values[self._rows(number)])
            for number, block in enumerate(self.blocks)], self.errors)  # fmt: skip

    def with_errors(self, errors: ErrorModel) -> "Observations":
        """Return the same observations with another error model."""
        return Observations(self.blocks, errors)

    def take(self, outputs: Any) -> "Observations":
        """Return the part of the vector that belongs to some outputs, for mini-batches.

        Parameters
        ----------
        outputs
            Numbers of the outputs, (n,); may be traced, so that one program serves all batches.

        Raises
        ------
        ValueError
            If a block is a mean over outputs, or lacks different data in different outputs.
        """
        outputs, rows, blocks = jnp.asarray(outputs), [], []
        for number, block in enumerate(self.blocks):
            if block.periods.kind != "each" or not block.uniform:
                reason = ("lacks different data in different outputs" if not block.uniform
                          else f"is a mean over outputs (periods {block.periods.kind!r})")
                raise ValueError(
                    f"mini-batches need data that belong to single outputs, but {block.name!r} "
                    f"{reason}; make it with periods='each'")
            each = block.kept.shape[0]
            inside = (outputs[:, None] * each + jnp.arange(each)).ravel()
            rows.append(inside + int(self._rows(number)[0]))
            blocks.append(eqx.tree_at(
                lambda b: (b.values, b.standard_deviation), block,
                (block.values[inside], block.standard_deviation[inside])))
        return Observations(blocks, self.errors.take(jnp.concatenate(rows)))

    def table(self) -> tuple[dict[str, str], ...]:
        """Return a row in words for each block: name, what, when, data, units, error, source."""
        return tuple(_described(block, np.asarray(self.standard_deviation)[self._rows(number)])
                     for number, block in enumerate(self.blocks))  # fmt: skip

    def describe(self) -> str:
        """Return the table as a text, with the size and the errors of the whole vector."""
        text = [f"{self.size} data in {len(self.blocks)} blocks; errors: {self.errors.description}"]
        for row in self.table():
            text.append(f"\n{row.pop('name')}")
            text += [f"  {key + ':':12}{value}" for key, value in row.items() if value]
        return "\n".join(text) + "\n"


def _described(block: Observation, spread: np.ndarray) -> dict[str, str]:
    """Return what is known of a block."""
    values, facts, periods = np.asarray(block.values), block.facts, block.periods
    against = "" if periods.labels == ("all",) else f", observed: {', '.join(periods.labels)}"
    when = {"each": "each output", "mean": f"mean over the run{against}"}.get(
        periods.kind, ", ".join(periods.labels))
    sign = f", positive {block.operator.positive}" if block.operator.positive else ""
    converted = f" (from {facts.converted_from})" if facts.converted_from else ""
    low, high = (f"{x:.3g}" for x in (spread.min(), spread.max()))
    return {
        "name": block.name,
        "observed": block.operator.description,
        "periods": when,
        "data": f"{block.size}, from {values.min():.4g} to {values.max():.4g}",
        "units": f"{block.units}{sign}{converted}",
        "error": f"{low if low == high else f'{low} to {high}'} ({facts.error})",
        "source": facts.source + (f", {facts.years}" if facts.years else ""),
        "licence": facts.licence,
    }


def synthetic(
    model: Any,
    fields: Fields,
    specification: Mapping[str, Mapping[str, Any]],
    *,
    key: Array | None = None,
    start: str | Sequence[str] | None = None,
    every: float = 1.0,
    inputs: Any = None,
) -> Observations:
    """Return observations whose values are those of a run, for twin experiments.

    Parameters
    ----------
    model
        Model of the run.
    fields
        What the run returned: the truth.
    specification
        Name of a block -> arguments of `make_operator`, and `error` (standard deviation, in the
        units of the operator) and `periods` with `chosen`.
    key
        Adds a random error from a `jax.random.key`; None: no noise.
    start, every
        First day of the run or of each of its windows, and days between outputs; for months and
        seasons.
    inputs
        Inputs of the run, for masks of land and sea.

    Raises
    ------
    ValueError
        If a name is unknown or an error is missing.
    """
    blocks = []
    for name, given in specification.items():
        asked = dict(given)
        if "error" not in asked:
            raise ValueError(
                f"{name}: give the standard deviation of the error, error=..., in the units of "
                "the operator")
        error = asked.pop("error")
        operator_periods = {k: asked.pop(k) for k in ("periods", "chosen") if k in asked}
        operator = make_operator(model, inputs=inputs, **asked)
        outputs = jnp.asarray(fields[operator.variables[0]]).shape[0]
        windows = 1 if start is None or isinstance(start, str) else len(start)
        periods = make_periods(
            operator_periods.get("periods", "mean"), chosen=operator_periods.get("chosen"),
            start=start, every=every, count=outputs // windows)
        values = np.asarray(operator(fields, periods))
        blocks.append(observation(
            name, operator, values, error, periods=periods, facts=Facts("synthetic")))
    observations = Observations(blocks)
    noise = 0.0 if key is None else observations.errors.draw(key)
    return observations.with_values(jax.lax.stop_gradient(observations.values + noise))
