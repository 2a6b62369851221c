"""Chains on the disk: what was drawn, and the state from which the sampler goes on."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jcm.files import checked, remove_leftovers, replacing

#: Relative difference of log densities and gradients that rounding on another machine explains.
ROUNDING = 1e-3


class ChainStore:
    """Draws and state of a sampler, in memory and, with a path, in one file that is whole.

    The one thing here that changes: it stands for a file.
    """

    def __init__(self, path: Path | None, saved: dict[str, np.ndarray]) -> None:
        """Hold what a file said; `begin` completes it."""
        self._path, self._saved = path, saved
        self._identity: dict[str, np.ndarray] = {}
        #: State of the sampler after the last transition.
        self.states: Any = None
        #: What was recorded, (chain, transition, ...).
        self.made: dict[str, np.ndarray] = {}
        #: Wall time so far [s].
        self.seconds = 0.0

    @classmethod
    def open(cls, path: str | Path | None, resume: bool) -> "ChainStore":
        """Return an empty store, or what a file holds.

        Raises
        ------
        ValueError
            If there is no path to resume from, or the file cannot be read.
        FileExistsError
            If the file is there and is not to be resumed.
        FileNotFoundError
            If there is no such folder.
        """
        if path is None:
            if resume:
                raise ValueError("resume needs the store of the run to go on with; pass store=")
            return cls(None, {})
        path = checked(path)
        if not path.exists():
            return cls(path, {})
        if not resume:
            raise FileExistsError(
                f"{path} holds a run already; pass resume=True to go on with it, or remove it")
        try:
            with path.open("rb") as opened, np.load(opened) as file:
                saved = dict(file)
            json.loads(str(saved["settings"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path} is no store of a sampler, or is damaged ({error}); remove it to start "
                "again") from None
        return cls(path, saved)

    @property
    def count(self) -> int:
        """Transitions made, of each chain."""
        return self.made["z"].shape[1] if self.made else 0

    def begin(
        self, states: Any, settings: Mapping[str, Any], exact: Mapping[str, Any],
        close: Mapping[str, Any],
    ) -> None:  # fmt: skip
        """Take the first states of a new run, or make sure that the saved run is this one.

        Parameters
        ----------
        states
            States of the chains at the start.
        settings, exact, close
            What identifies the run: settings; arrays that must be the same; arrays that must be
            the same but for rounding.

        Raises
        ------
        ValueError
            If the saved run is another one.
        """
        self.states = states
        self._identity = {
            "settings": np.asarray(json.dumps(dict(settings), sort_keys=True)),
            **{f"exact/{name}": np.asarray(x) for name, x in exact.items()},
            **{f"close/{name}": np.asarray(x) for name, x in close.items()}}
        if not self._saved:
            return
        if changes := self._changes(settings):
            raise ValueError(
                f"{self._path} holds another run: {'; '.join(changes)}. Sample with what it was "
                "begun with, or choose another store")
        leaves, structure = jax.tree.flatten(states)
        self.states = jax.tree.unflatten(structure, [
            _restored(self._saved[f"state/{i}"], leaf) for i, leaf in enumerate(leaves)])
        self.made = {name.removeprefix("made/"): x for name, x in self._saved.items()
                     if name.startswith("made/")}  # fmt: skip
        self.seconds = float(self._saved["seconds"])

    def append(self, states: Any, made: Mapping[str, np.ndarray], seconds: float) -> None:
        """Add transitions of all chains, and write all anew, whole or not at all."""
        self.states, self.seconds = states, self.seconds + seconds
        self.made = {
            name: np.concatenate([self.made[name], x], axis=1) if self.made else x
            for name, x in made.items()}
        if self._path is None:
            return
        remove_leftovers(self._path.parent)
        arrays = {f"state/{i}": _plain(x) for i, x in enumerate(jax.tree.leaves(states))}
        arrays |= {f"made/{name}": x for name, x in self.made.items()}
        with replacing(self._path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, seconds=self.seconds, **self._identity, **arrays)

    def _changes(self, settings: Mapping[str, Any]) -> list[str]:
        """Return what differs from the saved run, in words."""
        saved = json.loads(str(self._saved["settings"]))
        changes = [f"{name} was {saved.get(name)}, is now {value}"
                   for name, value in settings.items() if saved.get(name) != value]  # fmt: skip
        if changes:
            return changes
        for name, now in self._identity.items():
            then = self._saved.get(name, np.zeros(0))
            kind, _, what = name.partition("/")
            if kind == "settings":
                continue
            same = then.shape == now.shape and (
                np.array_equal(then, now) if kind == "exact"
                else np.allclose(then, now, rtol=ROUNDING, atol=ROUNDING * np.abs(now).max()))
            if not same:
                changes.append(f"the {what} {'differ' if what.endswith('s') else 'differs'}" + (
                    " (other parameters, data, errors, priors or model?)" if kind == "close"
                    else ""))  # fmt: skip
        return changes


def _plain(leaf: Any) -> np.ndarray:
    """Return a leaf as numbers; random keys as their data."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf)


def _restored(saved: np.ndarray, like: Any) -> Any:
    if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(saved), impl=jax.random.key_impl(like))
    return jnp.asarray(saved, like.dtype)
