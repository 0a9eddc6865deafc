"""What the Hub says now of models that are known here: moved, deleted, gated, under another licence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace

from huggingface_hub import HfApi, ModelInfo
from huggingface_hub.constants import HF_HUB_OFFLINE

from expertise_graph.core import Expert, ExpertiseError, NotFoundError, OfflineError, Progress, silent
from expertise_graph.models.hub_client import hub_errors
from expertise_graph.models.hub_search import FIELDS, node_of

# Questions at a time: the Hub answers each in a tenth of a second, and limits them by the account.
_AT_A_TIME = 4


@dataclass(frozen=True, kw_only=True)
class HubState:
    """What the Hub says of a repository.

    Attributes:
        there: whether it is there, for this account.
        commit: where main is.
        pin_there: whether the commit that was asked about is there.
        same_weights: whether main has the weights of that commit.
        gated: whether access must be asked for.
        license: as an SPDX identifier, of main.
        safetensors: whether there are weights in that format.
        node: the description, see `node_of`.
    """

    there: bool
    commit: str = ""
    pin_there: bool = True
    same_weights: bool = True
    gated: bool = False
    license: str = ""
    safetensors: bool = True
    node: Expert | None = None


def ask_hub(
    wanted: Iterable[tuple[str, str | None]], *, at_pin: bool = False, progress: Progress = silent
) -> dict[tuple[str, str | None], HubState | ExpertiseError]:
    """Ask the Hub about repositories, several at a time.

    Args:
        wanted: repository and commit of each; None for where main is.
        at_pin: whether that commit is described, instead of main.
        progress: called for each that was asked about.

    Returns:
        What it says of each, or the error, in the order asked for.

    Raises:
        OfflineError: when the network is missing; nobody else is asked then.
    """
    every = list(dict.fromkeys(wanted))
    if every and HF_HUB_OFFLINE:
        raise OfflineError("HF_HUB_OFFLINE is set, and the Hub has to be asked: unset it and run this again")
    return _together(every, _describe if at_pin else _ask, progress)


def _together(
    every: list[tuple[str, str | None]],
    ask: Callable[[str, str | None], HubState],
    progress: Progress,
) -> dict[tuple[str, str | None], HubState | ExpertiseError]:
    found: dict[tuple[str, str | None], HubState | ExpertiseError] = {}
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        asked = {pool.submit(ask, *one): one for one in every}
        try:
            for done in as_completed(asked):
                try:
                    found[asked[done]] = done.result()
                except OfflineError:
                    raise
                except ExpertiseError as error:
                    found[asked[done]] = error
                progress("asking the Hub", len(found), len(every))
        finally:
            for future in asked:
                future.cancel()
    return {one: found[one] for one in every}


def _ask(repo: str, pin: str | None) -> HubState:
    """Ask about main, and whether a commit is there and has the same weights."""
    state = _describe(repo, None)
    if not state.there or pin in (None, state.commit):
        return state
    there, same = _compare(repo, str(pin), state.commit)
    return replace(state, pin_there=there, same_weights=same)


def _describe(repo: str, revision: str | None) -> HubState:
    """Ask what a revision, by default main, is."""
    try:
        with hub_errors(f"hf:{repo}"):
            info = HfApi().model_info(repo, revision=revision, expand=[*FIELDS, "siblings"])
    except NotFoundError:
        return HubState(there=False)
    files = [s.rfilename for s in info.siblings or []]
    node = node_of(info)
    return HubState(
        there=True,
        commit=str(info.sha),
        gated=bool(info.gated),
        license=node.license,
        safetensors=any(name.endswith(".safetensors") for name in files),
        node=node,
    )


def _compare(repo: str, pin: str, commit: str) -> tuple[bool, bool]:
    """Return whether a commit is still there, and whether main has the same weights."""
    api = HfApi()
    try:
        with hub_errors(f"hf:{repo}"):
            old = api.model_info(repo, revision=pin, files_metadata=True)
    except NotFoundError:
        return False, False
    with hub_errors(f"hf:{repo}"):
        new = api.model_info(repo, revision=commit, files_metadata=True)
    return True, _weights(old) == _weights(new)


def _weights(info: ModelInfo) -> Mapping[str, str | None]:
    """Return the hash of each file of weights, by its name."""
    return {
        s.rfilename: s.lfs.sha256 if s.lfs else s.blob_id
        for s in info.siblings or []
        if s.rfilename.endswith(".safetensors")
    }
