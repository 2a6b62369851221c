"""Draw from a posterior density by the No-U-Turn sampler, whitened by a Gaussian approximation.

The sampler moves in u, where z = start + L u and L L' is the covariance of the Laplace
approximation: there the posterior has about unit width in all directions, the mass matrix is the
identity, and warm-up has only the step size to find. NumPyro makes the transitions; this module
drives them in short batches, so that a run that is killed goes on where it was.

Hoffman, M. D. and Gelman, A. (2014): The No-U-Turn sampler: adaptively setting path lengths in
Hamiltonian Monte Carlo. J. Mach. Learn. Res., 15, 1593-1623.
Betancourt, M. (2018): A conceptual introduction to Hamiltonian Monte Carlo. arXiv:1701.02434
Phan, D., Pradhan, N. and Jankowiak, M. (2019): Composable effects for flexible and accelerated
probabilistic programming in NumPyro. arXiv:1912.11554
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from numpy.typing import ArrayLike
from numpyro.infer import NUTS
from numpyro.infer.util import ParamInfo

from jcm.fingerprint import program_fingerprint
from jcm.results import locked_file
from jcm_calibrate.jacobian import as_vector
from jcm_calibrate.uncertainty.chain_store import ChainStore
from jcm_calibrate.uncertainty.posterior import Posterior

#: Chains start this many widths of the covariance from the start; the first where all are finite.
SPREADS = (1.5, 0.5, 0.1)
#: How several chains are computed.
CHAIN_METHODS = ("vectorized", "sequential", "parallel")
#: Most transitions of one batch, and the seconds it should take.
BATCH, SECONDS = 100, 30.0

LogDensity = Callable[[Float[Array, " parameter"]], Float[Array, ""]]


@dataclass(frozen=True)
class Settings:
    """What the program of the sampler is compiled for."""

    warmup: int
    max_tree_depth: int
    target_accept: float
    #: Whether the mass matrix is adapted; not with a covariance to whiten by.
    adapt_mass: bool
    chain_method: str


def sample_nuts(
    log_density: LogDensity, start: ArrayLike, *, key: Key[Array, ""],
    warmup: int = 500, draws: int = 1000, chains: int = 4,
    covariance: ArrayLike | None = None, max_tree_depth: int = 6,
    target_accept: float = 0.8, chain_method: str = "vectorized",
    store: str | Path | None = None, resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Posterior:  # fmt: skip
    """Return draws from a density by the No-U-Turn sampler.

    Parameters
    ----------
    log_density
        JAX function from z to its log density, up to a constant, e.g. `problem.log_posterior`. If
        it is an `equinox.Module`, its arrays are arguments of the compiled program, which serves
        all modules of the same structure.
    start
        Where the chains start, roughly, (parameter,): the mode.
    key
        Random key; the same key gives the same draws.
    warmup, draws
        Transitions of each chain to adapt, then to keep. With a covariance 100 to 200 suffice.
    chains
        Number of chains.
    covariance
        Covariance of z to whiten by, `laplace(...).covariance`. Without one, a dense mass matrix
        is adapted during warm-up.
    max_tree_depth
        A transition evaluates at most 2**max_tree_depth - 1 gradients.
    target_accept
        Acceptance probability that the step size is adapted to.
    chain_method
        "vectorized": all chains at once by `vmap`; each transition waits for the longest.
        "sequential": one chain after the other in one program. "parallel": chains divided among
        the devices, one after the other on each.
    store
        File *.npz for the draws and the state of the sampler, written about twice a minute.
    resume
        Go on with the run in `store`, if there is one, to the draws it would have given without
        interruption. More draws than the first time may be asked for.
    progress
        Called with the number of transitions done, and of all, of each chain.

    Raises
    ------
    ValueError
        If an argument is out of range, the covariance is not one, the density is no number, or
        the store holds a run of another density or other settings.
    FloatingPointError
        If the density or its gradient is not finite near the start.
    FileExistsError
        If the store exists and `resume` is not set.
    RuntimeError
        If another process writes to the store.
    """
    mode = as_vector(start, "start")
    _check(warmup, draws, chains, max_tree_depth, target_accept, chain_method)
    factor = _factor(covariance, mode)
    settings = Settings(warmup, max_tree_depth, target_accept, covariance is None, chain_method)
    with locked_file(store):
        kept = ChainStore.open(store, resume)
        states = _start(log_density, mode, factor, key, chains, settings)
        # Numbers of the density may differ by rounding between processes; its program may not.
        program = "" if store is None else program_fingerprint(log_density, mode)[0]
        kept.begin(states, {
            "warmup": warmup, "chains": chains, "max_tree_depth": max_tree_depth,
            "target_accept": target_accept, "chain_method": chain_method},
            {"start": mode, "covariance": factor @ factor.T, "first positions": states.z,
             "program of the log density": program},
            {"log density": states.potential_energy, "gradient": states.z_grad})  # fmt: skip
        _run(log_density, mode, factor, settings, kept, warmup + draws, progress)
        return _posterior(kept, warmup, draws)


def _run(
    log_density: LogDensity, start: Array, factor: Array, settings: Settings, kept: ChainStore,
    total: int, progress: Callable[[int, int], None] | None,
) -> None:  # fmt: skip
    """Make transitions, batch by batch, until there are as many as asked for."""
    rate = 0.0  # transitions a second, unknown before the second batch: the first one compiles
    count = 1
    while kept.count < total:
        # A transition early in warm-up may be far cheaper than others: batches grow step by step.
        count = min(max(1, int(rate * SECONDS)), 4 * count, BATCH, total - kept.count)
        begin = time.perf_counter()
        states, made = jax.block_until_ready(
            _advance(log_density, start, factor, kept.states, jnp.asarray(count), settings))
        seconds = time.perf_counter() - begin
        kept.append(states, {name: np.asarray(x)[:, :count] for name, x in made.items()},
                    seconds if rate else 0.0)  # fmt: skip
        rate = count / seconds if rate else 1 / SECONDS
        if progress is not None:
            progress(min(kept.count, total), total)


@eqx.filter_jit
def _advance(
    log_density: LogDensity, start: Array, factor: Array, states: Any, count: Array,
    settings: Settings,
) -> tuple[Any, dict[str, Array]]:  # fmt: skip
    """Make some transitions of all chains; what is made lies in arrays of length BATCH."""
    kernel = _kernel(log_density, start, factor, settings)
    first = jax.tree.map(lambda x: x[0], states)
    # NumPyro prepares its transition when a chain is initialised. What that returns is not used.
    kernel.init(first.rng_key, settings.warmup,
                init_params=ParamInfo(first.z, first.potential_energy, first.z_grad))  # fmt: skip

    def record(state: Any) -> dict[str, Array]:
        return {
            "z": _position(start, factor, state.z), "log_density": -state.potential_energy,
            "diverging": state.diverging, "steps": state.num_steps,
            "acceptance": state.accept_prob, "energy": state.energy,
            "step_size": state.adapt_state.step_size}

    def chain(state: Any) -> tuple[Any, dict[str, Array]]:
        def transition(i: Array, carry: tuple[Any, Any]) -> tuple[Any, Any]:
            state, made = carry
            state = kernel.sample(state, (), {})
            return state, jax.tree.map(lambda all, x: all.at[i].set(x), made, record(state))

        empty = jax.tree.map(lambda x: jnp.zeros((BATCH, *x.shape), x.dtype), record(state))
        return jax.lax.fori_loop(0, count, transition, (state, empty))

    if settings.chain_method == "vectorized":
        return jax.vmap(chain)(states)
    if settings.chain_method == "sequential":
        return jax.lax.map(chain, states)
    mesh = jax.make_mesh(
        (jax.device_count(),), ("chain",), axis_types=(jax.sharding.AxisType.Auto,))
    along = jax.sharding.PartitionSpec("chain")
    return jax.shard_map(
        lambda states: jax.lax.map(chain, states), mesh=mesh, in_specs=along, out_specs=along,
        check_vma=False)(states)


def _start(
    log_density: LogDensity, start: Array, factor: Array, key: Array, chains: int,
    settings: Settings,
) -> Any:  # fmt: skip
    """Return the states of chains that start around a point, where the density is finite."""
    where, *keys = jax.random.split(key, chains + 1)
    offsets = jax.random.normal(where, (chains, start.size))
    points = values = gradients = jnp.zeros(0)
    for spread in SPREADS:
        points = spread * offsets
        values, gradients = _evaluate(log_density, start, factor, points)
        if bool(jnp.all(jnp.isfinite(values)) & jnp.all(jnp.isfinite(gradients))):
            break
    else:
        bad = [f"chain {i}: log density {-float(value):g}, gradient "
               f"{'finite' if bool(jnp.all(jnp.isfinite(slope))) else 'not finite'}"
               for i, (value, slope) in enumerate(zip(values, gradients, strict=True))]
        raise FloatingPointError(
            f"log density or gradient are not finite {SPREADS[-1]:g} widths from the start "
            f"({'; '.join(bad)}); start at the mode, and check that the run succeeds there")
    return _initial(jnp.stack(keys), ParamInfo(points, values, gradients), settings)


@eqx.filter_jit
def _initial(keys: Array, information: ParamInfo, settings: Settings) -> Any:
    # With value and gradient at hand, the density is not asked for.
    kernel = _kernel(lambda z: z[0], keys, keys, settings)
    return jax.vmap(lambda key, known: kernel.init(key, settings.warmup, init_params=known))(
        keys, information)


@eqx.filter_jit
def _evaluate(
    log_density: LogDensity, start: Array, factor: Array, points: Array
) -> tuple[Array, Array]:
    potential = jax.value_and_grad(_potential(log_density, start, factor))
    return jax.lax.map(potential, points)


def _kernel(log_density: LogDensity, start: Array, factor: Array, settings: Settings) -> NUTS:
    return NUTS(
        potential_fn=_potential(log_density, start, factor),
        adapt_mass_matrix=settings.adapt_mass, dense_mass=settings.adapt_mass,
        target_accept_prob=settings.target_accept, max_tree_depth=settings.max_tree_depth)


def _potential(log_density: LogDensity, start: Array, factor: Array) -> Callable[[Array], Array]:
    def potential(u: Array) -> Array:
        value = jnp.asarray(log_density(_position(start, factor, u)))
        if value.ndim:
            raise ValueError(
                f"the log density must be one number; the function returned shape {value.shape}. "
                "Residuals r become one as -0.5 * sum(r**2)")
        return -value.astype(u.dtype)

    return potential


def _position(start: Array, factor: Array, u: Array) -> Array:
    return start + factor @ u.astype(start.dtype)


def _factor(covariance: Any, start: Array) -> Array:
    """Return the Cholesky factor of the covariance; the identity without one."""
    if covariance is None:
        return jnp.eye(start.size, dtype=start.dtype)
    matrix = np.asarray(covariance, np.float64)
    if matrix.shape != (start.size, start.size):
        raise ValueError(
            f"the covariance of {start.size} components has shape {(start.size, start.size)}; "
            f"got {matrix.shape}")
    if not np.isfinite(matrix).all() or not np.allclose(
            matrix, matrix.T, rtol=1e-4, atol=1e-6 * np.abs(matrix).max()):
        raise ValueError("the covariance must be finite and symmetric")
    try:
        factor = np.linalg.cholesky(0.5 * (matrix + matrix.T))
    except np.linalg.LinAlgError:
        raise ValueError(
            "the covariance is not positive definite (eigenvalues "
            f"{np.linalg.eigvalsh(matrix).min():.3g} to {np.linalg.eigvalsh(matrix).max():.3g}); "
            "take that of laplace() with the residuals of the prior") from None
    return jnp.asarray(factor, start.dtype)


def _posterior(kept: ChainStore, warmup: int, draws: int) -> Posterior:
    made = {name: x[:, : warmup + draws] for name, x in kept.made.items()}
    after = {name: x[:, warmup:] for name, x in made.items()}
    return Posterior(
        draws=after["z"], log_density=after["log_density"], diverging=after["diverging"],
        steps=after["steps"], acceptance=after["acceptance"], energy=after["energy"],
        step_size=after["step_size"][:, -1], warmup_steps=int(made["steps"][:, :warmup].sum()),
        seconds=kept.seconds)


def _check(
    warmup: int, draws: int, chains: int, max_tree_depth: int, target_accept: float,
    chain_method: str,
) -> None:  # fmt: skip
    least = {"warmup": (warmup, 1), "draws": (draws, 4), "chains": (chains, 1),
             "max_tree_depth": (max_tree_depth, 1)}  # fmt: skip
    for name, (value, smallest) in least.items():
        if value < smallest:
            raise ValueError(f"{name} is at least {smallest}; got {value}")
    if not 0 < target_accept < 1:
        raise ValueError(f"target_accept is between 0 and 1; got {target_accept}")
    if chain_method not in CHAIN_METHODS:
        raise ValueError(
            f"unknown chain_method {chain_method!r}; available: {', '.join(CHAIN_METHODS)}")
    if chain_method == "parallel" and chains % jax.device_count():
        raise ValueError(
            f"{chains} chains cannot be divided among {jax.device_count()} devices; choose a "
            "multiple of their number")
