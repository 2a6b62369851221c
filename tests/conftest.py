"""Settings and models shared by all tests.

What a test sees does not depend on who runs it: home, caches and settings of the user are replaced
by empty folders of this run, which its workers share. Most of the time of the suite is
compilation, so XLA optimises little here (a program compiles three times as fast and runs a few
times slower); the commands of the README, which `.ci/run` calls, are compiled as users have them.
Float64, so that tolerances cover rounding only.
"""

import ctypes
import gc
import os
import shutil
import sys
import tempfile
from pathlib import Path

from jcm.command_line import compile_quickly

#: Folder of this run; set by the first process, inherited by its workers and their children.
FOLDER = "JCM_TEST_FOLDER"
#: Resident memory at which a worker forgets its compiled programs, and how much it then grows
#: before it forgets again: some of it never comes back [bytes].
ENOUGH, GROWTH = 1.3 * 2**30, 0.4 * 2**30

first_process = FOLDER not in os.environ
if first_process:
    folder = tempfile.mkdtemp(prefix="jcm-tests-")
    for name in list(os.environ):
        if name.startswith(("JAX_", "JCM_", "XLA_", "XDG_", "DASK_", "MPL", "PYTHONWARNINGS")):
            del os.environ[name]
    os.environ |= {
        FOLDER: folder,
        "HOME": folder,
        "XDG_CACHE_HOME": f"{folder}/cache",
        "XDG_CONFIG_HOME": f"{folder}/config",
        "XDG_DATA_HOME": f"{folder}/data",
        "JAX_COMPILATION_CACHE_DIR": f"{folder}/programs",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "MPLBACKEND": "Agg",
        "TZ": "UTC",
    }
    compile_quickly(level=0)

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_enable_x64", True)


def pytest_unconfigure(config):
    if first_process:
        shutil.rmtree(os.environ[FOLDER], ignore_errors=True)


def resident_memory() -> int:
    """Return the memory of this process that is in use, or 0 where that is not known [bytes]."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


limits = [ENOUGH]


@pytest.fixture(autouse=True)
def bounded_memory():
    """Forget compiled programs when they fill the memory; those on disk are found again."""
    yield
    if resident_memory() > limits[-1]:
        jax.clear_caches()
        gc.collect()
        if sys.platform == "linux":
            ctypes.CDLL(None).malloc_trim(0)
        limits.append(max(ENOUGH, resident_memory() + GROWTH))


@pytest.fixture(scope="session")
def small_model():
    """The smallest model with deep convection."""
    import jcm

    return jcm.build_model("T21L8")


@pytest.fixture(scope="session")
def small_inputs(small_model):
    """Its inputs from the packaged January state."""
    import jcm

    return jcm.default_inputs(small_model)
