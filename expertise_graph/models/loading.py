"""Where experts come from: one module a scheme, the scheme being what stands before the colon."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

from expertise_graph import models
from expertise_graph.core import (
    Expert,
    ExpertiseError,
    InvalidInputError,
    NotFoundError,
    SourceError,
    expert_errors,
)
from expertise_graph.models.base import (
    ALIASES,
    Backbone,
    Fetching,
    InputSpec,
    Matching,
    OnDisk,
    Source,
    SourceOptions,
    sources,
)
from expertise_graph.models.changes import is_touched

ZOO = "zoo"
"""The scheme of experts that come with this package, or with packages that it names."""

# Imported when an expert of theirs is resolved or loaded: they bring transformers, which is slow.
sources.point("dir", "expertise_graph.models.local:source")
sources.point("hf", "expertise_graph.models.hub:source")
sources.point("timm", "expertise_graph.models.timm:source")
sources.point("factory", "expertise_graph.models.factory:source")
sources.point("gguf", "expertise_graph.models.gguf:source")
sources.point("adapter", "expertise_graph.models.adapters:source")
sources.point(ZOO, "expertise_graph.models.zoo:source")


def resolve(reference: str, options: SourceOptions) -> Expert:
    """Return the expert that ``scheme:locator`` names, pinned and described.

    Raises:
        InvalidInputError: for a reference without a scheme.
        NotFoundError: for an unknown scheme, or nothing at the locator.
        SourceError, UntrustedError, MissingExtraError: see the sources.
    """
    scheme, separator, locator = reference.partition(":")
    if separator and not locator and scheme in [*sources]:
        example = "dir:./my-checkpoint" if scheme != ZOO else f"{ZOO}:{models.starter_names()[0]}"
        raise InvalidInputError(f"{reference!r} names nothing after the colon; write e.g. {example}")
    if not separator or not locator:
        schemes = ", ".join(f"{name}:" for name in sources)
        raise InvalidInputError(
            f"{reference!r} has no scheme; write one of {schemes} before it, e.g. {_with_scheme(reference)}"
        )
    with expert_errors(reference):
        return sources[scheme].resolve(locator, options)


def matching(reference: str) -> list[str]:
    """Return the references that one with wildcards means; any other one alone.

    Raises:
        NotFoundError: when nothing matches.
        MissingExtraError: when a library is needed to know what there is.
    """
    scheme, _, locator = reference.partition(":")
    if scheme not in [*sources] or not is_pattern(locator):
        return [reference]
    source = sources[scheme]
    return (
        [f"{scheme}:{name}" for name in source.matching(locator)]
        if isinstance(source, Matching)
        else [reference]
    )


def is_pattern(locator: str) -> bool:
    """Tell whether a locator has wildcards of a shell; a folder may be called so, too."""
    return any(sign in locator for sign in "*?[") and not Path(locator).expanduser().exists()


def _with_scheme(name: str) -> str:
    """Return the reference that a name without a scheme most likely stands for."""
    if name in models.starter_names():
        return f"{ZOO}:{name}"
    is_folder = Path(name).expanduser().is_dir()
    return f"hf:{name}" if name.count("/") == 1 and name[0] not in "./~" and not is_folder else f"dir:{name}"


def fetch(reference: str, options: SourceOptions) -> int | None:
    """Download what `resolve` reads, and return how many bytes that is.

    Returns:
        None where the source may download something later, or cannot tell.

    Raises:
        ExpertiseError: as `resolve`.
    """
    scheme, _, locator = reference.partition(":")
    source = sources[scheme]
    with expert_errors(reference):
        root = source.fetch(locator, options) if isinstance(source, Fetching) else None
    if root is None:
        return None
    files = [root] if root.is_file() else [*root.glob("*"), *root.glob("*/*")]
    return sum(file.stat().st_size for file in files if file.is_file())


def resolve_all(reference: str, options: SourceOptions) -> list[Expert]:
    """Return the experts of a reference: one for each tower of an image-text model, unless one is chosen.

    Raises:
        ExpertiseError: as `resolve`.
    """
    first = resolve(reference, options)
    others = first.meta.get("towers", [])[1:] if options.modality is None else []
    return [first, *(resolve(reference, replace(options, modality=other)) for other in others)]


def load(expert: Expert, *, trust_code: bool = False) -> Backbone:
    """Return the backbone of a registered expert, after checking that its weights are the pinned ones.

    Other places of the same expert are tried where it is gone, or another one, from its own.

    Raises:
        SourceError, UntrustedError, MissingExtraError: see the sources.
    """
    try:
        return sources[expert.source].load(expert, trust_code=trust_code)
    except (SourceError, NotFoundError):
        for other in _elsewhere(expert):
            with contextlib.suppress(ExpertiseError):
                return sources[other.source].load(other, trust_code=trust_code)
        raise


def _elsewhere(expert: Expert) -> list[Expert]:
    """Return the expert as it is found in other places, each once."""
    places = {(a["source"], a["locator"], a["revision"]): None for a in expert.meta.get(ALIASES, ())}
    places.pop((expert.source, expert.locator, expert.revision), None)
    return [replace(expert, source=s, locator=place, revision=r) for s, place, r in places]


def weight_files(expert: Expert) -> list[Path]:
    """Return the safetensors files with the weights of an expert, as far as they are on this machine.

    None where its source does not tell, or the folder is gone or was touched since.
    """
    for one in [expert, *_elsewhere(expert)]:
        with contextlib.suppress(ExpertiseError, OSError, KeyError):
            source = sources[one.source]
            found = list(source.weight_files(one)) if isinstance(source, OnDisk) else []
            if found and not is_touched(one):
                return found
    return []


def verify(expert: Expert) -> None:
    """Check that an expert in a local folder is still what was registered; untouched files are not read.

    Raises:
        SourceError, NotFoundError: when it is another one now, or gone.
    """
    if not is_touched(expert):
        return
    try:
        models.verify_checkpoint(models.existing_folder(expert.locator), expert)
    except (SourceError, NotFoundError):
        for other in _elsewhere(expert):
            if other.source != "dir":
                return
            with contextlib.suppress(ExpertiseError):
                models.verify_checkpoint(models.existing_folder(other.locator), other)
                return
        raise


__all__ = [
    "Backbone",
    "InputSpec",
    "Source",
    "SourceOptions",
    "load",
    "resolve",
    "resolve_all",
    "sources",
    "verify",
]
