"""What a measurement was made on, without names of machines or people."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("jcm-toolkit", "jax", "jaxlib", "dinosaur", "equinox", "numpy")


def hardware(device: str | None = None) -> dict[str, Any]:
    """Return processor, memory, system and versions; `device` as JAX names it."""
    return {
        "processor": processor(),
        "cores": usable_cores(),
        "memory_gib": memory(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "device": device,
        "python": platform.python_version(),
        **{name.replace("-", "_"): _version(name) for name in PACKAGES},
    }


def describe(found: dict[str, Any]) -> str:
    """Return the hardware in one line."""
    gib = f", {found['memory_gib']:.0f} GiB" if found["memory_gib"] else ""
    device = f", {found['device']}" if found["device"] not in (None, "cpu") else ""
    return (
        f"{found['processor']}, {found['cores']} cores{gib}{device}; Python {found['python']}, "
        f"jax {found['jax']}"
    )


def processor() -> str:
    """Return the model of the processor."""
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model"):
                return value.strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory() -> float | None:
    """Return the memory of the machine [GiB]."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
