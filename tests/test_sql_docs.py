"""The tables of docs/text_to_sql.md are made from the code; `python tests/test_sql_docs.py` writes them anew."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlglot import exp

from generators.text_to_sql.cells import DIALECTS, TIERS, teacher_axes
from generators.text_to_sql.grammar import CONCEPTS as GRAMMAR
from generators.text_to_sql.grammar.idioms import IDIOMS, Idiom
from generators.text_to_sql.grammar.sql import column, literal, quoted, to_sql
from generators.text_to_sql.schema import Column
from generators.text_to_sql.statements import type_of
from generators.text_to_sql.taxonomy import taxonomy
from judges.sql_concepts import CONCEPTS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/text_to_sql.md"
SPACE = taxonomy()


def table(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def axes_table() -> str:
    known = teacher_axes(TIERS, DIALECTS, 0.04)
    said = {
        "dialect": ", ".join(DIALECTS),
        "tier": ", ".join(TIERS),
        "industry": "such as hospital care",
        "topic": "such as ward occupancy: ward, bed, admission, transfer",
        "concept": "of SQL, by tier and dialect",
        "task_type": "kinds of task, by tier",
        "task": "what they ask for",
        "data_quality": f"in {SPACE.data_quality.share:.0%} of the tasks",
        "flaw": "their concepts",
        "knowledge": f"in {SPACE.knowledge.share:.0%} of the tasks",
        "fact": "their concepts",
    }
    return table(
        ("axis", "values", ""),
        ((f"`{axis}`", len(v), said.get(axis, ", ".join(map(str, v)))) for axis, v in known.items()),
    )


def concepts_table() -> str:
    def where(dialects: tuple[str, ...]) -> str:
        return "all" if dialects == DIALECTS else ", ".join(dialects)

    return table(
        ("concept", "tier", "what it is", "dialects", "modes"),
        (
            (f"`{n}`", c.tier, c.phrase, where(c.dialects), "both" if n in GRAMMAR else "teacher")
            for n, c in CONCEPTS.items()
        ),
    )


def flaws_table() -> str:
    kinds = SPACE.data_quality.kinds.items()
    return table(
        ("challenge", "concept", "what it is"), ((k, n, flaw.phrase) for k, flaws in kinds for n, flaw in flaws.items())
    )


def knowledge_table() -> str:
    kinds = SPACE.knowledge.kinds.items()
    return table(
        ("dependency", "concept", "what it is"), ((k, n, fact) for k, facts in kinds for n, fact in facts.items())
    )


def tasks_table() -> str:
    return table(
        ("kind", "from tier", "asks for"), ((n, t.lowest, "; ".join(t.concepts)) for n, t in SPACE.tasks.items())
    )


def critics_table() -> str:
    recipe = yaml.safe_load((ROOT / "recipes/generate/text_to_sql_teacher.yaml").read_text("utf-8"))
    rows = []
    for judge in (judge for judge in recipe["judges"] if "rubric" in judge):
        rubric = yaml.safe_load((ROOT / f"judges/rubrics/{judge['rubric']}.yaml").read_text("utf-8"))
        dimensions = ", ".join(dimension["name"] for dimension in rubric["dimensions"])
        bars = ", ".join(f"{name} {bar}" for name, bar in judge["at_least"].items())
        rows.append((f"`{judge['rubric']}`", dimensions, judge["min_score"], bars))
    return table(("rubric", "dimensions", "mean in the recipe", "at least"), rows)


def forms_table() -> str:
    """What the grammar writes in each dialect."""
    made: dict[str, Callable[[Idiom], exp.Expr]] = {
        "the month of a date": lambda idiom: idiom.month(column("d")),
        "30 days before a date": lambda idiom: idiom.days_before(column("d"), 30, timed=False),
        "days from one date to another": lambda idiom: idiom.days_between(column("a"), column("b")),
        "a flag that doesn't hold": lambda idiom: idiom.holds(column("paid"), False),
        "rows that meet a condition": lambda idiom: idiom.aggregate_if(
            "COUNT", None, idiom.holds(column("paid"), True)
        ),
        "the first three letters": lambda idiom: idiom.beginning(column("x"), 3),
        "texts put together": lambda idiom: idiom.combined(column("a"), literal(", "), column("b")),
        "the texts of a group": lambda idiom: idiom.text_list(column("x")),
        "the first day of a month": lambda idiom: idiom.month_start(column("d")),
    }
    rows = [(what, *(" ".join(to_sql(f(IDIOMS[x]), x).split()) for x in DIALECTS)) for what, f in made.items()]
    price = Column("price", "REAL", "price", "measure", values=(1.5,))
    known = Column("known", "INTEGER", "flag", "flag", values=(0, 1))
    moment = Column("at", "DATE", "time", "date", values=("2024-03-01 10:00:00",))
    rows += [(f"type of a {c.words}", *(type_of(c, dialect) for dialect in DIALECTS)) for c in (price, known, moment)]
    rows += [
        (f"the name {name}", *(quoted(name, dialect) for dialect in DIALECTS)) for name in ("order", "rank", "Net")
    ]
    coded = ((what, *(f"`` {cell} ``" if "`" in cell else f"`{cell}`" for cell in cells)) for what, *cells in rows)
    return table(("", "SQLite", "PostgreSQL", "MySQL"), coded)


TABLES = {
    "forms": forms_table,
    "axes": axes_table,
    "concepts": concepts_table,
    "flaws": flaws_table,
    "knowledge": knowledge_table,
    "tasks": tasks_table,
    "critics": critics_table,
}


def marked(name: str, content: str) -> str:
    return f"<!-- table: {name} -->\n{content}\n<!-- end -->"


@pytest.mark.parametrize("name", TABLES)
def test_the_table_is_that_of_the_code(name: str) -> None:
    assert marked(name, TABLES[name]()) in PAGE.read_text("utf-8"), "run `python tests/test_sql_docs.py`"


def test_every_reason_of_the_code_is_listed() -> None:
    page = PAGE.read_text("utf-8")
    folder = ROOT / "generators/text_to_sql"
    code = "".join((folder / f"{name}.py").read_text("utf-8") for name in ("invented", "teacher"))
    found = set(re.findall(r'Reject\("\w+", "(\w+)"', code)) | set(re.findall(r'_within\("(\w+)"', code))
    assert len(found) >= 15
    assert not [reason for reason in sorted(found) if f"`{reason}`" not in page]


def write() -> None:
    page = PAGE.read_text("utf-8")
    for name, made in TABLES.items():
        page = re.sub(
            rf"<!-- table: {name} -->.*?<!-- end -->", marked(name, made()).replace("\\", "\\\\"), page, flags=re.DOTALL
        )
    PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
    write()
