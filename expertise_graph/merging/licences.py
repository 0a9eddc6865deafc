"""Which licence a model has that was made of several."""

from __future__ import annotations

from collections.abc import Iterable

from expertise_graph.core import UNKNOWN

RULE = "The strictest licence of what was merged; unknown when one is unknown or two strict ones differ."

# Later ones ask for more. Within the first, permissive, line the last one covers the others.
_PERMISSIVE = ("cc0-1.0", "unlicense", "mit", "bsd-2-clause", "bsd-3-clause", "apache-2.0", "cc-by-4.0")
_STRICT = (
    ("mpl-2.0", "lgpl-2.1", "lgpl-3.0"),
    ("gpl-2.0", "gpl-3.0", "cc-by-sa-4.0"),
    ("agpl-3.0",),
    ("cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0"),
)


def strictest(licences: Iterable[str]) -> str:
    """Return the licence that covers a mixture of works under `licences`, or "unknown".

    Example:
        >>> strictest(["mit", "apache-2.0"]), strictest(["mit", "llama3"]), strictest(["gpl-3.0", "mit"])
        ('apache-2.0', 'unknown', 'gpl-3.0')
    """
    named = {name.lower() for name in licences}
    if len(named) == 1:
        return named.pop()
    known = {*_PERMISSIVE, *(name for line in _STRICT for name in line)}
    if not named or named - known:
        return UNKNOWN
    strict = named - set(_PERMISSIVE)
    if not strict:
        return max(named, key=_PERMISSIVE.index)
    return strict.pop() if len(strict) == 1 else UNKNOWN
