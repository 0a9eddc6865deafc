"""A look back at a finished run: how it went, where it fails, what to try next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from expertise_graph.core import ExpertiseError, Progress, UntrustedError, silent
from expertise_graph.data import LabelledData, known_modalities
from expertise_graph.diagnostics.finished_run import FinishedRun, check_same_classes, read_finished_run
from expertise_graph.diagnostics.hardest_examples import HardExample, contact_sheet, hardest_examples
from expertise_graph.diagnostics.verdict import RunVerdict, judge
from expertise_graph.inference import Model, open_model

Find = Callable[[str], LabelledData]
"""Returns the data of a task, by its id; raises ExpertiseError where they cannot be found."""


@dataclass(kw_only=True)
class RunFindings:
    """All that is known about a run so far.

    Attributes:
        model: what answers; None where it is built by code that is not trusted.
        hardest: items of the highest loss, None where the data or the model could not be used.
        looked_at: how many validation and test items were predicted.
        sheet: the hardest examples as a PNG, for images.
    """

    run: FinishedRun
    verdict: RunVerdict
    model: Model | None = None
    data: LabelledData | None = None
    hardest: tuple[HardExample, ...] | None = None
    looked_at: int = 0
    sheet: bytes | None = None
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False


def check_run(
    folder: Path,
    find: Find,
    *,
    settings: Mapping[str, str | bool] | None = None,
    trust_code: bool = False,
    progress: Progress = silent,
) -> RunFindings:
    """Look back at a finished warm start.

    Ctrl-C ends the check; what was found until then is returned.

    Args:
        folder: of the run, with its run.json.
        find: finds the data it was trained on.
        settings: that a command needs to read the data.
        trust_code: whether a model built by code of the user may be loaded.
        progress: told how far it is.

    Raises:
        InvalidInputError: when the run has not finished, or its files do not belong together.
        NotFoundError, SourceError: when a file of it is missing or damaged.
    """
    run = read_finished_run(folder)
    found = RunFindings(run=run, verdict=judge(run, "DATA"))
    try:
        found.model = open_model(folder, trust_code=trust_code)
    except UntrustedError as error:
        found.notes.append(f"the hardest examples are left out: {error}")
    try:
        found.data = find(run.task)
        check_same_classes(run, found.data)
        found.verdict = judge(run, found.data.locator, settings)
        if found.model is None:
            return found
        found.hardest, found.looked_at = hardest_examples(
            found.model, found.data, seed=int(run.result["seed"]), progress=progress
        )
        if known_modalities[run.modality].picture:
            found.sheet = contact_sheet(found.hardest, found.data)
    except ExpertiseError as error:
        found.notes.append(f"the hardest examples are left out: {error}")
    except KeyboardInterrupt:
        found.interrupted = True
    return found
