"""The README's table of claims is what the newest records say."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_readme_claims_what_the_records_say():
    script = runpy.run_path(str(ROOT / "scripts" / "build_claims"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert script["with_table"](readme) == readme


def test_every_claim_names_what_it_is_compared_with():
    script = runpy.run_path(str(ROOT / "scripts" / "build_claims"))
    rows = script["table"]().splitlines()[2:]
    assert len(rows) >= 5
    for row in rows:
        what, ours, others, record = (cell.strip() for cell in row.strip("|").split("|"))
        assert what
        assert any(c.isdigit() for c in ours)
        assert any(c.isdigit() for c in others)
        assert (ROOT / record.split("(")[1].rstrip(")")).is_dir()
