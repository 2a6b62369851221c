"""Suggestions for names that are unknown."""

import difflib
from collections.abc import Iterable


def hint(name: str, known: Iterable[str]) -> str:
    """Return `did you mean ...? ` with the names nearest to an unknown one, or nothing.

    Names that contain it come first: `itcz` suggests `itcz_latitude`.
    """
    names = list(known)
    close = [other for other in names if name and name.lower() in other.lower()]
    close += [other for other in difflib.get_close_matches(name, names, n=3) if other not in close]
    return f"did you mean {', '.join(close[:3])}? " if close else ""
