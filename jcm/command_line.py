"""What the three command lines share: how an application behaves, and `--version`."""

import importlib.metadata
import platform
from typing import Annotated, Any

import typer

#: Packages that a report of an error must name.
REPORTED = ("jax", "jaxlib", "dinosaur")


def application(**options: Any) -> typer.Typer:
    """Return an application; help texts are plain, so that `[model]` in them is no markup."""
    return typer.Typer(
        no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
        rich_markup_mode=None, **options)  # fmt: skip


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
