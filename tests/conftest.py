"""Settings shared by all tests: float64, so that tolerances cover rounding only."""

import jax

jax.config.update("jax_enable_x64", True)
