"""Settings and models shared by all tests.

Float64, so that tolerances cover rounding only. Compiled programs are kept between runs and
shared between workers: most of the time of the suite is compilation.
"""

from pathlib import Path

import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update(
    "jax_compilation_cache_dir", str(Path(__file__).parents[1] / ".pytest_cache" / "jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


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
