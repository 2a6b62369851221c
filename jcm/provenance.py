"""What made the data: version, state of the checkout, model, parameters and forcing.

Nothing here depends on the clock, so that the same run gives the same files.
"""

import functools
import hashlib
import importlib.metadata
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from jcm.calendar import format_date
from jcm.model import Model
from jcm.parameters import get, leaf_names
from jcm.simulate import Inputs
from jcm.surface.coupler import has_no_anomalies

DISTRIBUTION = "jcm-toolkit"
REFERENCES = (
    "Molteni, F. (2003): Atmospheric simulations using a GCM with simplified physical "
    "parametrizations. I: Model climatology and variability in multi-decadal experiments. "
    "Clim. Dyn., 20, 175-191"
)
#: Longest wait for git [s].
GIT_SECONDS = 10


def provenance(model: Model, inputs: Inputs | None = None) -> dict[str, Any]:
    """Return global attributes that say what made the data."""
    physics = type(getattr(model.physics, "inner", model.physics)).__name__
    dynamics = type(model.dynamics).__name__
    facts: dict[str, Any] = {
        "Conventions": "CF-1.11",
        "title": f"Simulation with {DISTRIBUTION} at {model.name}",
        "source": f"{DISTRIBUTION} {package_version()} (jcm), {model.name}, "
        f"physics {physics}, dynamics {dynamics}",
        "history": f"written by {DISTRIBUTION} {package_version()}",
        "references": REFERENCES,
        "grid": model.name,
        "half_levels": np.array(model.levels.half),
        "time_step": model.time_step,
        "preset": model.preset,
        "options": ", ".join(f"{k}={v}" for k, v in model.options._asdict().items()),
    } | git_state()
    if inputs is None:
        return facts
    return facts | {
        "start_date": format_date(int(inputs.forcing.start_day)),
        "parameters_sha256": parameter_hash(inputs.parameters),
        "forcing_sha256": array_hash(inputs.forcing),
        "notes": anomaly_note(inputs),
    }


def package_version() -> str:
    """Return the version of the installed package; `not installed` for a bare source folder."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


@functools.cache
def git_state() -> dict[str, str]:
    """Return commit and changes of the checkout that the package runs from; nothing elsewhere."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return {}
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    if not commit or changes is None:
        return {}
    return {"git_commit": commit, "git_changes": "uncommitted changes" if changes else "none"}


def _git(root: Path, *arguments: str) -> str | None:
    """Return what git prints; None if there is no git, or it fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True,
            timeout=GIT_SECONDS)  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def parameter_hash(parameters: Any) -> str:
    """Return the SHA-256 of names and values of all parameters; equal only for equal values."""
    lines = []
    for name in sorted(leaf_names(parameters)):
        values = np.asarray(get(parameters, name), dtype=float).ravel()
        lines.append(f"{name}={','.join(value.hex() for value in values.tolist())}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def array_hash(tree: Any) -> str:
    """Return the SHA-256 of names, types, shapes and values of all arrays of a tree."""
    digest = hashlib.sha256()
    for name in sorted(leaf_names(tree)):
        values = np.ascontiguousarray(get(tree, name))
        digest.update(f"{name} {values.dtype.str} {values.shape}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def anomaly_note(inputs: Inputs) -> str:
    """Say which anomalies of sea surface temperature a run has."""
    subject, forcing = "sea surface temperature anomalies", inputs.forcing
    if forcing.sea_surface_temperature_anomaly is None:
        return f"{subject}: none given"
    if has_no_anomalies(forcing):
        return f"{subject}: all zero"
    year, month = divmod(int(forcing.anomaly_first_month), 12)
    count = len(forcing.sea_surface_temperature_anomaly)
    return f"{subject}: {count} months from {year:04d}-{month + 1:02d}"
