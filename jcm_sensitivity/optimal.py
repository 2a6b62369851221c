"""Optimal perturbations: the changes of the initial atmosphere that grow most.

They are the leading singular vectors of the tangent propagator M of the model, eigenvectors of
M'E M against E, with E the total-energy norm of `energy`; Buizza and Palmer (1995), see there. M
is forward mode through the run and M' reverse mode, and the vectors come from `singular_vectors`.
The unknowns are the spectral coefficients inside the truncation, in which the initial norm is
Euclidean; the final norm may be that of a region.

Both time levels of the leapfrog scheme start from the same change, and the older one is looked at
in the end, so that the change is followed over exactly the time given.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from jcm.model import Model
from jcm.provenance import provenance
from jcm.simulate import PRECISION, Inputs, check_widths, simulate, whole_steps
from jcm.state import Prognostics, State
from jcm_sensitivity.change_files import change_dataset
from jcm_sensitivity.energy import (
    Coordinates,
    EnergyNorm,
    field_weights,
    grid_energy,
    weighted_fields,
)
from jcm_sensitivity.initial_state import (
    STATE_UNITS,
    add_increments,
    increments_of,
    surface_pressure,
)
from jcm_sensitivity.regions import GLOBE, Region
from jcm_sensitivity.singular_vectors import Progress, singular_vectors


def optimal_perturbations(
    model: Model,
    inputs: Inputs,
    *,
    days: float | int,
    count: int = 5,
    norm: EnergyNorm | None = None,
    final_norm: EnergyNorm | None = None,
    region: Region = GLOBE,
    tolerance: float = 1e-3,
    restarts: int = 20,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Return the changes of the initial atmosphere that grow most, and what they become.

    Each application of the propagator and its adjoint costs about 5 runs; 5 vectors take 20 to 40.
    Compiled once for a model, a length and norms.

    Parameters
    ----------
    model, inputs
        Structure, and the run whose neighbourhood is looked at.
    days
        Length of growth; 1 to 3 days are usual.
    count
        Number of vectors.
    norm
        Of the initial change; default the dry total energy. With a weight of humidity the initial
        change has humidity.
    final_norm
        Of the final change; default `norm`.
    region
        Where the final change counts.
    tolerance, restarts, progress
        Relative error of the squared growth, largest number of restarts, and a function called
        with the number of applications; see `singular_vectors`.

    Returns
    -------
    xr.Dataset
        Along `mode`: `growth`, the ratio of the final to the initial norm; `residual` of the
        eigenvalue problem relative to the eigenvalue; fields `initial_NAME` and `final_NAME` on
        the grid, scaled to an initial energy of 1 J kg-1 in the mean over the globe; and their
        energies `initial_TERM_energy`, `final_TERM_energy` by layer, TERM of `energy.TERMS`.

    Raises
    ------
    ValueError
        If the length or the norm is not possible, or the region is empty.
    FloatingPointError
        If the propagator is not finite.
    RuntimeError
        If the vectors have not converged.
    """
    norm = norm or EnergyNorm()
    final_norm = final_norm or norm
    final_norm.check()
    whole_steps(model, "days", days)
    check_widths(model, inputs.parameters)
    space = Coordinates(model, norm)
    weights = jnp.asarray(field_weights(model, final_norm, region.fraction(model.grid)))
    if not weights.any():
        raise ValueError(f"the region {region.description} is empty on the grid of {model.name}")
    length, dtype = float(days), inputs.state.current.temperature.dtype

    def product(x: np.ndarray) -> tuple[Array, Array]:
        _, change = _pushed(jnp.asarray(x, dtype), model, inputs, space, length)
        weighted, pulled_to = _weighted(change, model, weights)
        return weighted, _pulled(pulled_to, model, inputs, space, length)

    found = singular_vectors(
        product, space.size, count=count, tolerance=tolerance, restarts=restarts,
        progress=progress)  # fmt: skip
    # Energy is half the square of the norm.
    vectors = [jnp.asarray(np.sqrt(2) * x, dtype) for x in found.initial]
    dataset = xr.Dataset(
        {
            "growth": ("mode", found.value, {
                "long_name": "growth of the norm: final over initial", "units": "1"}),
            "residual": ("mode", found.residual, {
                "long_name": "residual of the eigenvalue problem over the eigenvalue",
                "units": "1"}),
        },
        coords={"mode": ("mode", np.arange(1, count + 1), {"long_name": "number of the vector"})},
        attrs=provenance(model, inputs) | {
            "title": "Optimal perturbations: leading singular vectors of the tangent propagator",
            "days": float(days), "applications": found.applications,
            "final_region": region.description,
            "norm": f"total energy, initial {_words(norm)}, final {_words(final_norm)}"},
    )
    begin, end, later = [], [], inputs
    for x in vectors:
        last, change = _pushed(x, model, inputs, space, length)
        later = inputs.with_state(last)
        begin.append(increments_of(model, inputs, space.change(x)))
        end.append(increments_of(model, later, change))
    parts = [dataset, _dataset(model, inputs, "initial", begin, norm),
             _dataset(model, later, "final", end, final_norm)]  # fmt: skip
    return xr.merge(parts, compat="override", join="exact", combine_attrs="override")


def perturbed(
    model: Model, inputs: Inputs, vectors: xr.Dataset, *, mode: int = 1, factor: float = 1.0
) -> Inputs:
    """Return inputs whose initial state has a multiple of an optimal perturbation added.

    Parameters
    ----------
    vectors
        Result of `optimal_perturbations`.
    mode
        Number of the vector, from 1.
    factor
        1: the initial energy of the change is 1 J kg-1.
    """
    increments = {}
    for name in STATE_UNITS:
        field = vectors[f"initial_{name.removeprefix('state.')}"].sel(mode=mode)
        increments[name] = factor * np.swapaxes(field.values, -1, -2)
    return add_increments(model, inputs, increments)


# ---- the propagator -----------------------------------------------------------------------------


def _propagated(
    x: Float[Array, "size"], model: Model, inputs: Inputs, space: Coordinates, days: float
) -> tuple[Prognostics, State]:
    """Return the atmosphere after a run whose initial state has a change added, and its state."""
    change = space.change(x)
    previous, current = (
        jax.tree.map(jnp.add, level, change)
        for level in (inputs.state.previous, inputs.state.current))
    state = eqx.tree_at(lambda s: (s.previous, s.current), inputs.state, (previous, current))
    last = simulate(model, inputs.with_state(state), days=days, average=False, observe=())[0]
    return last.previous, last


@eqx.filter_jit
def _pushed(
    x: Float[Array, "size"], model: Model, inputs: Inputs, space: Coordinates, days: float
) -> tuple[State, Prognostics]:
    """Return the state after the run, and the change of its atmosphere: M x."""
    _, change, last = jax.jvp(
        lambda x: _propagated(x, model, inputs, space, days), (jnp.zeros_like(x),), (x,),
        has_aux=True)  # fmt: skip
    return last, change


@eqx.filter_jit
def _pulled(
    change: Prognostics, model: Model, inputs: Inputs, space: Coordinates, days: float
) -> Float[Array, "size"]:
    """Return M' applied to a vector of the space of the final change."""
    zero = jnp.zeros(space.size, change.temperature.dtype)
    _, pull, _ = jax.vjp(
        lambda x: _propagated(x, model, inputs, space, days), zero, has_aux=True)
    return pull(change)[0]


@eqx.filter_jit
@jax.default_matmul_precision(PRECISION)
def _weighted(
    change: Prognostics, model: Model, weights: Float[Array, "field lon lat"]
) -> tuple[Float[Array, "number"], Prognostics]:
    """Return the weighted change, half of whose square is its energy, and E times the change."""
    weighted, pull = jax.vjp(lambda change: weighted_fields(model, change, weights), change)
    return weighted, pull(weighted)[0]


# ---- what comes out -----------------------------------------------------------------------------


def _words(norm: EnergyNorm) -> str:
    moist = f", humidity with weight {norm.moisture:g}" if norm.moisture else ", dry"
    return f"reference temperature {norm.reference_temperature:g} K{moist}"


def _dataset(
    model: Model, inputs: Inputs, when: str, parts: list[dict[str, Array]], norm: EnergyNorm
) -> xr.Dataset:
    """Return the fields of all vectors on the grid, latitude first, and their energies."""
    fields = {
        name.removeprefix("state."): np.stack([np.asarray(part[name]) for part in parts])
        for name in STATE_UNITS}  # fmt: skip
    dataset = change_dataset(
        model, fields, every=1.0, inputs=inputs, average=False, naming=f"{when}_{{}}",
        words=f"{when} change of")  # fmt: skip
    dataset = dataset.drop_vars("time").rename_dims(time="mode")
    for name in fields:
        dataset[f"{when}_{name}"].attrs.pop("cell_methods", None)
    pressure = np.asarray(surface_pressure(model, inputs))
    for term, energy in grid_energy(model, norm, fields, pressure).items():
        dims = ("mode", "level")[:energy.ndim]
        dataset[f"{when}_{term}_energy"] = (dims, energy, {
            "long_name": f"{term} energy of the {when} change, mean over the globe, "
            f"{'sum is that of the column' if energy.ndim == 2 else 'of the column'}",
            "units": "J kg-1"})  # fmt: skip
    dataset.attrs = {}
    return dataset
