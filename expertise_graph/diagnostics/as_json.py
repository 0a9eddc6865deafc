"""The findings as plain values for JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from expertise_graph.diagnostics.findings import DataFindings, Duplicates, Noise

LISTED = 100


def data_json(findings: DataFindings) -> dict[str, Any]:
    """Return the documented JSON form; items are named, lists of items are cut to a hundred."""
    basics = asdict(findings.basics)
    skipped = basics.pop("skipped")
    return {
        "kind": "data",
        **basics,
        "skipped": [{"item": what, "reason": why} for what, why in skipped],
        "odd": _odd(findings),
        "duplicates": _duplicates(findings, findings.duplicates),
        "noise": _noise(findings, findings.noise),
        "need": asdict(findings.need) if findings.need else None,
        "growth": asdict(findings.growth) if findings.growth else None,
        "expert": findings.expert,
        "expert_reason": findings.expert_reason,
        "sampled": findings.sampled,
        "advice": list(findings.advice),
        "command": findings.command,
        "notes": list(findings.notes),
        "interrupted": findings.interrupted,
    }


def _odd(findings: DataFindings) -> list[dict[str, Any]] | None:
    if findings.odd is None:
        return None
    return [{"kind": o.kind, "count": len(o.items), "items": _named(findings, o.items)} for o in findings.odd]


def _duplicates(findings: DataFindings, found: Duplicates | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "exact_copies": found.exact_copies,
        "near_copies": found.near_copies,
        "held_out": found.held_out,
        "leaked": len(found.leaked),
        "leaked_items": _named(findings, found.leaked),
        "conflicts": len(found.conflicts),
        "confirmed_by": found.confirmed_by,
        "groups": [
            {
                "items": _named(findings, g.items),
                "labels": sorted({findings.class_of(i) for i in g.items}),
                "exact": g.exact,
                "leak": g.leak,
                "conflict": g.conflict,
            }
            for g in found.groups[:LISTED]
        ],
    }


def _noise(findings: DataFindings, noise: Noise | None) -> dict[str, Any] | None:
    if noise is None:
        return None
    suspects = [{**asdict(s), "item": findings.names[s.item]} for s in noise.suspects]
    return {**asdict(noise), "clear": noise.clear, "suspects": suspects}


def _named(findings: DataFindings, items: Iterable[int]) -> list[str]:
    return [findings.names[i] for i in items][:LISTED]
