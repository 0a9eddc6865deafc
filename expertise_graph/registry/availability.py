"""Published models that could not be had: remembered, so that a query does not propose them again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from expertise_graph.core import (
    Expert,
    ExpertiseError,
    FailedError,
    GatedError,
    NotFoundError,
    SourceError,
    TemporaryError,
    UntrustedError,
)
from expertise_graph.store import BROKEN, GATED, GONE, REFUSED, Store, Unavailable

# The first that an error is an instance of says why a model cannot be had; None where it may be another time.
_KINDS: tuple[tuple[type[ExpertiseError], str | None], ...] = (
    (TemporaryError, None),
    (GatedError, GATED),
    (NotFoundError, GONE),
    (UntrustedError, REFUSED),
    (FailedError, BROKEN),
    (SourceError, BROKEN),
)


@contextmanager
def remembering(store: Store, model: str, *, revision: str | None, found: bool = False) -> Iterator[None]:
    """Remember, where a known model turns out not to be had or run, why; the error goes on.

    Args:
        store: the registry.
        model: what `register` takes.
        revision: that was asked for.
        found: whether the model itself was found: what is missing then is something else.
    """
    try:
        yield
    except ExpertiseError as error:
        kind = next((kind for of, kind in _KINDS if isinstance(error, of)), None)
        if kind is not None and not (found and kind == GONE):
            store.put_unavailable(model, kind, str(error), revision=revision)
        raise


def as_remembered(model: Expert, unavailable: Mapping[str, Unavailable]) -> Expert:
    """Return a known model with what is remembered about having it in its `meta`.

    `meta["unavailable"]` is why it cannot be had; one whose page asks for consent is `gated`.
    """
    one = unavailable.get(model.name)
    if one is None or model.runnable or not one.holds(model.revision):
        return model
    known = {"gated": True} if one.kind == GATED else {"unavailable": one.reason}
    return replace(model, meta={**model.meta, **known})
