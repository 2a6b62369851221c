"""How fast the model is: speed, gradients, start, memory and profile, also beside a peer."""

from jcm.benchmark.measure import measure
from jcm.benchmark.report import markdown, show
from jcm.benchmark.settings import Settings, check, model_names, numbers

__all__ = ["Settings", "check", "markdown", "measure", "model_names", "numbers", "show"]
