"""Which licence a model that was made of others may have.

Identifiers are those of the Hub (https://huggingface.co/docs/hub/repositories-licenses). What they allow
follows https://choosealicense.com/appendix for licences of software, and for those of Creative Commons
https://creativecommons.org/share-your-work/cclicenses. It is a rule on the safe side, and no legal advice.
"""

from __future__ import annotations

from collections.abc import Iterable

from expertise_graph.core import UNKNOWN, InvalidInputError, setting

PERMISSIVE = frozenset(
    {
        "mit",
        "apache-2.0",
        "bsd",
        "bsd-2-clause",
        "bsd-3-clause",
        "bsd-3-clause-clear",
        "isc",
        "zlib",
        "ncsa",
        "postgresql",
        "bsl-1.0",
        "afl-3.0",
        "artistic-2.0",
        "ecl-2.0",
        "ms-pl",
        "unlicense",
        "wtfpl",
        "cc0-1.0",
        "pddl",
        "cc-by-2.0",
        "cc-by-2.5",
        "cc-by-3.0",
        "cc-by-4.0",
        "odc-by",
        "cdla-permissive-1.0",
        "cdla-permissive-2.0",
    }
)
"""A derived work may have any licence, as long as authors are named where they ask for it."""

SAME_LICENCE = frozenset(
    {
        "cc-by-sa-3.0",
        "cc-by-sa-4.0",
        "gpl",
        "gpl-2.0",
        "gpl-3.0",
        "agpl-3.0",
        "lgpl",
        "lgpl-2.1",
        "lgpl-3.0",
        "mpl-2.0",
        "eupl-1.1",
        "eupl-1.2",
        "epl-1.0",
        "epl-2.0",
        "osl-3.0",
        "odbl",
        "cdla-sharing-1.0",
        "gfdl",
        "ofl-1.1",
        "cc-by-nc-2.0",
        "cc-by-nc-3.0",
        "cc-by-nc-4.0",
        "cc-by-nc-sa-2.0",
        "cc-by-nc-sa-3.0",
        "cc-by-nc-sa-4.0",
        "openrail",
        "openrail++",
        "creativeml-openrail-m",
        "bigscience-openrail-m",
        "bigscience-bloom-rail-1.0",
        "bigcode-openrail-m",
        "llama2",
        "llama3",
        "llama3.1",
        "llama3.2",
        "llama3.3",
        "llama4",
        "gemma",
    }
)
"""A derived work has the same: share-alike, non-commercial, and licences of models that bind who derives."""

NO_DERIVATIVES = frozenset({"cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"})
"""A derived work may not be passed on."""

# What says that there is a licence, or none, without saying which.
_UNKNOWN = frozenset({UNKNOWN, "other", ""})


def licence_of_child(parents: Iterable[tuple[str, str]], given: str | None) -> str:
    """Return the licence that a model may be published under.

    Args:
        parents: name and licence of each model that it was made from.
        given: what its author chose; None for that of the parents.

    Raises:
        InvalidInputError: when none is known, or a parent does not allow it.

    Example:
        >>> licence_of_child([("a", "mit"), ("b", "cc-by-sa-4.0")], None)
        'cc-by-sa-4.0'
        >>> licence_of_child([("a", "mit")], "gpl-3.0")
        'gpl-3.0'
    """
    known = [(name, licence.lower()) for name, licence in parents]
    chosen = None if given is None else given.strip().lower()
    for name, licence in known:
        if licence in NO_DERIVATIVES:
            raise InvalidInputError(
                f"{name} has the licence {licence}, which does not let what was made from it be published"
            )
        if licence not in PERMISSIVE | SAME_LICENCE and chosen is None:
            what = "no known licence" if licence in _UNKNOWN else f"the licence {licence}"
            raise InvalidInputError(
                f"{name} has {what}, which does not say what may be made from it: read its terms, and "
                f"name the licence that they allow with {setting('license')}"
            )
    binding = {licence: name for name, licence in known if licence in SAME_LICENCE}
    if len(binding) > 1:
        (a, of_a), (b, of_b), *_ = binding.items()
        raise InvalidInputError(f"{of_a} has the licence {a} and {of_b} {b}: no licence meets both")
    for licence, name in binding.items():
        if chosen not in (None, licence):
            raise InvalidInputError(
                f"{name} has the licence {licence}, and what is made from it has the same, not {chosen}: "
                f"leave {setting('license')} out"
            )
        return licence
    if chosen is not None:
        return chosen
    # The first permissive one of the parents; all of them allow it.
    found = [licence for _, licence in known]
    if not found:
        raise InvalidInputError(
            f"it was made from no other model: choose its licence with {setting('license', 'mit')} or another"
        )
    return found[0]
