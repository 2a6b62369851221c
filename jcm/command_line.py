"""What the three command lines share: how an application behaves, and `--version`."""

import importlib.metadata
import os
import platform
from typing import Annotated, Any

import typer

#: First version of jaxlib that may no longer know how to choose the way of fused operations.
FORGETS_EMITTERS = (0, 11)
#: Packages that a report of an error must name.
REPORTED = ("jax", "jaxlib", "dinosaur")


def application(**options: Any) -> typer.Typer:
    """Return an application; help texts are plain, so that `[model]` in them is no markup."""
    return typer.Typer(
        no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
        rich_markup_mode=None, **options)  # fmt: skip


def calm_compiler() -> None:
    """Keep XLA's alarm about slow compilation from users, whom commands tell how long it takes."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def compile_quickly(level: int = 1) -> None:
    """Let XLA optimise less, for commands that run a program so rarely that compiling is the wait.

    At level 1 compiling takes about half the time and a run nearly twice its time, at level 0 a
    third and five times. Has no effect once JAX has started, or where `XLA_FLAGS` is set.
    """
    flags = [f"--xla_backend_optimization_level={level}"]
    # XLA ends the process at a flag that it does not know, from 0.12 on at this one.
    if tuple(map(int, importlib.metadata.version("jaxlib").split(".")[:2])) < FORGETS_EMITTERS:
        flags.append("--xla_cpu_use_fusion_emitters=false")
    os.environ.setdefault("XLA_FLAGS", " ".join(flags))


def versions() -> str:
    """Return the versions of this project and what it stands on, and the device, line by line."""
    import jax

    from jcm.provenance import DISTRIBUTION, package_version

    device = jax.devices()[0]
    return "\n".join([
        f"{DISTRIBUTION} {package_version()}",
        *(f"{name} {importlib.metadata.version(name)}" for name in REPORTED),
        f"Python {platform.python_version()} on {platform.system()} {platform.machine()}",
        f"device {device.platform}: {device.device_kind}"])  # fmt: skip


def _print_versions(asked: bool) -> bool:
    if asked:
        typer.echo(versions())
        raise typer.Exit
    return asked


VersionOption = Annotated[
    bool,
    typer.Option(
        "--version", callback=_print_versions, is_eager=True,
        help="Print versions and device, for reports of errors."),
]
