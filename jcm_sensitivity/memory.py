"""How many states of a run reverse mode can keep within a limit of memory.

Beside the states there are the process itself and what the compiler needs and leaves behind, which
is more than the states of a day. What is not kept is computed again, so a smaller limit costs
time, never accuracy.
"""

import math
import resource
import sys

import jax

from jcm.simulate import Inputs, output_windows
from jcm_sensitivity.arguments import parse_memory
from jcm_sensitivity.runs import Experiment

#: What compilation of a gradient adds to the process on a CPU [bytes]: 1.16 to 1.23 GiB measured
#: at T31L8; and the working memory of one step in reverse, in states: 25 measured.
COMPILER, STEP_IN_STATES = 1.25 * 2**30, 30
#: Fewer states would repeat the run too often.
FEWEST_STATES = 8


def states_within(experiment: Experiment, inputs: Inputs, memory: str | int) -> int:
    """Return how many states of a run can be kept within a limit of memory.

    Parameters
    ----------
    experiment, inputs
        The run.
    memory
        Largest memory of the process (on an accelerator: of the device), e.g. `"2GiB"`, or bytes.

    Raises
    ------
    ValueError
        If the limit has no meaning or is too small.
    """
    steps = math.prod(output_windows(experiment.model, experiment.days, experiment.every))
    limit, size, used = parse_memory(memory), state_bytes(inputs), _in_use()
    states = int((limit - used) // size) - STEP_IN_STATES
    fewest = min(steps, FEWEST_STATES)
    if states < fewest:
        least = used + (fewest + STEP_IN_STATES) * size
        raise ValueError(
            f"memory = {memory!r} is too small: at least {math.ceil(least / 2**20)} MiB are "
            f"needed, {used / 2**20:.0f} MiB of them by the program and its compilation, "
            f"{size / 2**20:.1f} MiB for each state of the run; raise the limit or choose a "
            "coarser grid")
    return min(states, steps)


def state_bytes(inputs: Inputs) -> int:
    """Return the size of one state of a run [bytes]."""
    return sum(x.nbytes for x in jax.tree.leaves(inputs.state))


def _in_use() -> float:
    """Return the memory that is taken before the first state is kept [bytes]."""
    device = jax.local_devices()[0]
    if device.platform != "cpu" and (known := device.memory_stats()):
        return known["bytes_in_use"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) + COMPILER
