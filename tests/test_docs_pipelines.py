"""docs/pipelines.md: a record of each pipeline, as `gristmill show` has it; `python -m tests.test_docs_pipelines` makes
that part anew.
"""

import re
import tomllib
from typing import Any

from gristmill.commands.show import example_records
from gristmill.llm.reply import CHARACTERS_PER_TOKEN
from tests.layers import ROOT

PAGE = ROOT / "docs/pipelines.md"
TURNS, TEXT, TRACE = 8, 700, 160  # shown at most: turns of a record, characters of a text and of a trace


def pipelines() -> list[str]:
    """The generators that are a pipeline: all but `template`, which is what its config makes of it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return [name for name in project["entry-points"]["gristmill.generators"] if name != "template"]


def cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most].rstrip()} ... ({len(text):,} characters)"


def told(turn: dict[str, Any]) -> str:
    parts = [f"({cut(turn['reasoning_content'], TRACE)})"] if turn.get("reasoning_content") else []
    parts += [cut(turn["content"], TEXT)] if turn.get("content") else []
    parts += [f"{c['function']['name']}({cut(c['function']['arguments'], TEXT)})" for c in turn.get("tool_calls") or []]
    return f"{turn['role']:<11}" + "\n".join(parts).replace("\n", "\n" + " " * 11)


def record_of(name: str) -> str:
    row = example_records(name)[0]
    turns = [told(turn) for turn in row["messages"][:TURNS]]
    more = len(row["messages"]) - TURNS
    left_out = [f"{'...':<11}{more} turns more"] if more > 0 else []
    passed = ", ".join(verdict["name"] for verdict in row.get("verdicts") or [] if verdict["passed"])
    proofs = [f"{'passed':<11}{passed}"] if passed else []
    shown = "\n".join([*turns, *left_out, *proofs, f"{'metadata':<11}{', '.join(row['metadata'])}"])
    lines = "\n".join(f"    {line}".rstrip() for line in shown.split("\n"))
    return f"### {name}\n\n[What its keys are](config.md#params-{name})\n\n{lines}"


def tokens() -> str:
    """The mean over a pipeline's examples of what the record holds: what is read, and what the solver wrote."""
    lines = ["| pipeline | read | written | of it traces |", "|---|---|---|---|"]
    for name in pipelines():
        rows = example_records(name)
        sizes = [0, 0, 0]
        for turn in (turn for row in rows for turn in row["messages"]):
            calls = sum(len(call["function"]["arguments"]) for call in turn.get("tool_calls") or [])
            trace = len(turn.get("reasoning_content") or "")
            written = turn["role"] == "assistant"
            sizes[written] += len(turn.get("content") or "") + calls + trace
            sizes[2] += trace
        shown = " | ".join(f"{size // len(rows) // CHARACTERS_PER_TOKEN:,}" for size in sizes)
        lines.append(f"| {name} | {shown} |")
    return "\n".join(lines)


def page() -> str:
    """The page with its two marked parts made anew."""
    text = PAGE.read_text("utf-8")
    for name, content in {"tokens": tokens(), "records": "\n\n".join(map(record_of, pipelines()))}.items():
        before, begin, rest = text.partition(f"<!-- made: {name} -->\n")
        _, end, after = rest.partition("\n<!-- end -->")
        assert begin and end
        text = before + begin + content + end + after
    return text


def test_the_page_is_current() -> None:
    assert page() == PAGE.read_text("utf-8"), "run `python -m tests.test_docs_pipelines`"


def test_every_pipeline_tells_what_it_costs() -> None:
    rows = re.findall(r"^\| \[(\w+)\]\(([\w.#-]+)\) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert {name for name, _ in rows} == set(pipelines())
    assert all((ROOT / "docs" / link.partition("#")[0]).is_file() for _, link in rows)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
