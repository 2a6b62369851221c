"""Where files are kept between runs: fetched data, and compiled programs.

Compiling a run takes longer than a short run itself, so JAX keeps the result on disk. That is
switched on when a model is built, unless the user has already chosen otherwise; an import of the
package changes no setting and makes no folder.
"""

import os
from pathlib import Path

import jax
import platformdirs

#: Environment variable with the folder of the cache; default the user's cache folder.
CACHE_VARIABLE = "JCM_CACHE"
#: Programs that took at least this long to compile are kept [s].
WORTH_KEEPING = 0.3


def cache_directory() -> Path:
    """Return the folder for files that can be made or fetched again."""
    return Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("jcm"))


def keep_compiled_programs() -> None:
    """Switch on JAX's persistent compilation cache, in the folder `compiled` of the cache.

    `JAX_COMPILATION_CACHE_DIR` chooses another folder and `JAX_ENABLE_COMPILATION_CACHE=0`
    switches it off; so do the same settings in `jax.config` before a model is built.
    """
    if jax.config.jax_compilation_cache_dir is not None:  # pyright: ignore[reportAttributeAccessIssue]
        return
    folder = cache_directory() / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        # Nowhere to write, as on some compute nodes: compile in every process.
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", WORTH_KEEPING)
