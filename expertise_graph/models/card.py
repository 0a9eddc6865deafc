"""Model cards: reading the metadata of others' cards, and writing those of finished models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import CardData as HubCardData
from huggingface_hub import DatasetCardData, EvalResult, ModelCardData

from expertise_graph.core import UNKNOWN, inline, printable
from expertise_graph.data import VALUE
from expertise_graph.models.base import BASES, RELATION
from expertise_graph.models.card_results import CLAIMS, Claim, claims_in, claims_in_folder, front_matter

# Cards are a few kB; a larger file under this name is something else.
_LIMIT = 2 << 20

# Merges name a dozen base models at most; names of the Hub have 96 characters, paths may be longer.
_MOST_BASES, _LONGEST = 32, 256


@dataclass(frozen=True, kw_only=True)
class CardData:
    """What the author of a model states about it; unverified."""

    license: str = UNKNOWN
    base_models: tuple[str, ...] = ()
    relation: str | None = None
    datasets: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()

    @property
    def base_model(self) -> str | None:
        """The first of the base models."""
        return next(iter(self.base_models), None)

    @property
    def meta(self) -> dict[str, Any]:
        """What stands beside the fields of an expert, in its meta: lineage, languages, results it claims."""
        kept = {
            BASES: list(self.base_models),
            RELATION: self.relation,
            "languages": list(self.languages),
            CLAIMS: [claim.plain for claim in self.claims],
        }
        return {name: value for name, value in kept.items() if value}


def read_card(path: Path) -> CardData:
    """Return what the model card at `path` and the results beside it state.

    A missing or broken card states nothing.
    """
    claims = tuple(claims_in_folder(path.parent))
    try:
        if not path.is_file() or path.stat().st_size > _LIMIT:
            return CardData(claims=claims)
        content = front_matter(path.read_text(encoding="utf-8"))
        index = content.pop("model-index", None)
        data = card_of(ModelCardData(**content, ignore_metadata_errors=True))
    except Exception:  # a card is free text of unknown authors: whatever the parser raises means "unknown"
        return CardData(claims=claims)
    return replace(data, claims=(*claims_in(index), *claims))


def card_of(data: HubCardData) -> CardData:
    """Return what the metadata of a card state; what is of another type than expected states nothing."""
    name = _first(data.get("license_name")) if data.get("license") == "other" else _first(data.get("license"))
    return CardData(
        license=(name or UNKNOWN).lower(),
        base_models=_names(data.get("base_model")),
        relation=next(iter(_names(data.get("base_model_relation"))), None),
        datasets=_strings(data.get("datasets")),
        tags=_strings(data.get("tags")),
        languages=_strings(data.get("language")),
    )


@dataclass(frozen=True, kw_only=True)
class FinishedCard:
    """What the card of a finished model says.

    Attributes:
        title: one line.
        license: of the model.
        base_model: what it was made from, if anything.
        relation: to that: finetune, adapter or merge.
        tags: beside "expertise-graph".
        datasets: names of what it was trained on.
        pipeline: of the Hub, see `pipeline_tag`.
        metric: name of what was measured.
        score: on the test split of the last data set; only where the card is to carry a model-index.
        rows: of the table, by name; those without a value are left out.
        prose: paragraphs below it.
    """

    title: str
    license: str
    base_model: str | list[str] | None = None
    relation: str | None = None
    tags: Sequence[str] = ()
    datasets: Sequence[str] = ()
    pipeline: str | None = None
    metric: str | None = None
    score: float | None = None
    rows: Mapping[str, object]
    prose: Sequence[str]

    @property
    def text(self) -> str:
        """The card in the form of the Hugging Face Hub: YAML front matter, a table, sentences."""
        rows = {name: value for name, value in self.rows.items() if value is not None}
        table = [f"| {inline(str(name))} | {_cell(str(value))} |" for name, value in rows.items()]
        body = [f"# {inline(self.title)}", "", "| | |", "|---|---|", *table, "", *self.prose, ""]
        return "\n".join(["---", self._metadata.to_yaml(), "---", "", *body])

    @property
    def _metadata(self) -> ModelCardData:
        results = [] if self.score is None else [self._result(self.score)]
        return ModelCardData(
            license=self.license,
            base_model=self.base_model,
            base_model_relation=self.relation,
            datasets=list(self.datasets) or None,
            metrics=[self.metric] if self.metric else None,
            pipeline_tag=self.pipeline,
            tags=["expertise-graph", *self.tags],
            model_name=self.title,
            eval_results=results or None,
        )

    def _result(self, score: float) -> EvalResult:
        metric, data = str(self.metric), self.datasets[-1]
        return EvalResult(
            task_type=str(self.pipeline),
            dataset_type=data,
            dataset_name=data,
            metric_type=metric,
            metric_name=f"{metric.replace('_', ' ')} on held-out items",
            metric_value=round(score, 6),
            dataset_split="test",
        )


def dataset_card(
    *,
    title: str,
    tags: Sequence[str],
    tables: Mapping[str, str],
    rows: Mapping[str, object],
    prose: Sequence[str],
) -> str:
    """Return the card of a repository of tables.

    Args:
        title: one line.
        tags: beside "expertise-graph".
        tables: pattern of the files of each table, by its name, for the viewer of the Hub.
        rows: of the table in the card, by name.
        prose: paragraphs below it.
    """
    metadata = DatasetCardData(
        pretty_name=title,
        tags=["expertise-graph", *tags],
        configs=[
            {"config_name": name, "data_files": [{"split": "train", "path": pattern}]}
            for name, pattern in tables.items()
        ],
    )
    table = [f"| {inline(str(name))} | {_cell(str(value))} |" for name, value in rows.items()]
    body = [f"# {inline(title)}", "", "| | |", "|---|---|", *table, "", *prose, ""]
    return "\n".join(["---", metadata.to_yaml(), "---", "", *body])


def pipeline_tag(modality: str, kind: str) -> str:
    """Return what the Hub calls the task of a model, e.g. image-classification."""
    return f"{modality}-{'regression' if kind == VALUE else 'classification'}"


def _cell(text: str) -> str:
    """Return what stands in a cell of a table; a code span stays one."""
    is_code = len(text) > 2 and text[0] == text[-1] == "`"
    return f"`{inline(text[1:-1])}`" if is_code else inline(text)


def _strings(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(v for v in values if isinstance(v, str))


def _names(value: Any) -> tuple[str, ...]:
    """Return the names in a cell of the metadata, each once; what cannot be one is left out."""
    named = (text.strip() for text in _strings(value))
    fit = (name for name in named if name and len(name) <= _LONGEST and printable(name) == name)
    return tuple(dict.fromkeys(fit))[:_MOST_BASES]


def _first(value: Any) -> str | None:
    return next(iter(_strings(value)), None)
