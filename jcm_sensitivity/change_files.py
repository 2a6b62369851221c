"""Changes of fields as datasets that follow CF, beside the fields themselves."""

from collections.abc import Mapping, Sequence

import xarray as xr
from jax.typing import ArrayLike

from jcm.model import Model
from jcm.output import to_dataset
from jcm.simulate import Inputs


def change_dataset(
    model: Model,
    changes: Mapping[str, ArrayLike],
    *,
    every: float | Sequence[float],
    inputs: Inputs,
    average: bool = True,
    naming: str = "{}_change",
    words: str = "change of",
) -> xr.Dataset:
    """Return changes of output variables; a change has no CF standard name.

    Parameters
    ----------
    model, changes, every, inputs, average
        As `jcm.output.to_dataset`.
    naming
        Name of a change, made from that of its variable.
    words
        What precedes the long name of the variable.
    """
    dataset = to_dataset(model, changes, every=every, inputs=inputs, average=average)
    for name in changes:
        attributes = dataset[name].attrs
        attributes.pop("standard_name", None)
        attributes["long_name"] = f"{words} {attributes['long_name']}"
        if "units_metadata" in attributes:
            attributes["units_metadata"] = "temperature: difference"
    # The pressure in these formulas is the pressure itself, not its change.
    for name in ("level", "level_bnds"):
        if name in dataset.variables:
            for key in ("formula_terms", "computed_standard_name"):
                dataset[name].attrs.pop(key, None)
    dataset = dataset.drop_vars("ptop", errors="ignore")
    return dataset.rename({name: naming.format(name) for name in changes})
