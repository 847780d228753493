"""Every reason to refuse is known, documented, and reached by a test."""

import re
from pathlib import Path

from judges.sql_reasons import REASONS

ROOT = Path(__file__).parents[1]
ALL = {reason for reasons in REASONS.values() for reason in reasons}


def test_the_code_gives_no_other_reason() -> None:
    code = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "judges").glob("*.py") if path.name != "sql_reasons.py"
    )
    given = set(re.findall(r'Refuted\(\s*"(\w+)"', code)) | set(re.findall(r'_again\([^)]*"(\w+)"\)', code))
    assert given <= ALL, "a reason that is not documented"
    assert not [reason for reason in ALL if f'"{reason}"' not in code], "a reason that is never given"


def test_the_page_has_them_all() -> None:
    rows = [
        f"| {stage} | `{reason}` | {when} |" for stage, reasons in REASONS.items() for reason, when in reasons.items()
    ]
    table = "\n".join(["| stage | reason | when |", "| --- | --- | --- |", *rows])
    page = (ROOT / "docs/text_to_sql.md").read_text(encoding="utf-8")
    assert f"<!-- table: reasons -->\n{table}\n<!-- end -->" in page


def test_each_is_reached_by_a_test() -> None:
    tests = "".join(
        (ROOT / f"tests/test_sql_{name}.py").read_text(encoding="utf-8") for name in ("execution", "servers")
    )
    assert not [reason for reason in ALL if f'"{reason}"' not in tests]
