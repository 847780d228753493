"""`gristmill list` names what is installed; `gristmill show GENERATOR` prints its example records with their proofs."""

import inspect
import sys
from argparse import ArgumentParser, Namespace
from itertools import takewhile
from pathlib import Path
from typing import Any

from gristmill.commands import Command
from gristmill.terminal import Style, printable, styled, tell

_RULE = "─" * 39
_FOUND: dict[bool | None, tuple[str, Style]] = {
    True: ("passed", "good"),
    False: ("failed", "bad"),
    None: ("undecided", "doubtful"),
}


def _no_arguments(parser: ArgumentParser) -> None:
    return None


def _list(arguments: Namespace) -> int:
    from gristmill import registry
    from gristmill.errors import ConfigError

    for kind in ("generators", "judges"):
        print(f"{kind}:")
        names = registry.names(kind)
        width = max(map(len, names))
        for name in names:
            try:
                said = first_line(registry.load(kind, name))
            except ConfigError as error:  # the others are there all the same
                said = str(error)
            tell(f"  {name:<{width}} {said}", 6)
    recipes = Path("recipes")
    print("recipes:" if recipes.is_dir() else "recipes: none in this folder")
    paths = sorted(recipes.rglob("*.yaml"))
    width = max((len(str(path)) for path in paths), default=0)
    for path in paths:
        tell(f"  {path!s:<{width}} {first_sentence(path.read_text(encoding='utf-8', errors='replace'))}", 6)
    return 0


def first_sentence(recipe: str) -> str:
    """What a recipe's comment at its top says first."""
    lines = [line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), recipe.splitlines())]
    return " ".join(lines).partition(". ")[0].rstrip(".")


def first_line(plugin: Any) -> str:
    """What a plugin says of itself: the first line of its module's docstring, without its name."""
    module = inspect.getmodule(plugin)
    text = (module.__doc__ if module else None) or plugin.__doc__ or ""
    return text.strip().splitlines()[0].partition(": ")[2] if text.strip() else ""


def _configure_show(parser: ArgumentParser) -> None:
    parser.add_argument("generator", help="a name that `gristmill list` prints")


def _show(arguments: Namespace) -> int:
    from gristmill.errors import ConfigError

    records = example_records(arguments.generator)
    if not records:
        raise ConfigError(f"{arguments.generator} has no example records (examples.jsonl beside its module).")
    for number, row in enumerate(records, start=1):
        print(f"{_RULE}\n{arguments.generator}, example {number} of {len(records)}\n{_RULE}")
        print(conversation_text(row))
    return 0


def example_records(generator: str) -> list[dict[str, Any]]:
    """The rows of `examples.jsonl` beside a generator: records as in `schemas.Record`."""
    import orjson

    from gristmill import registry

    path = registry.load("generators", generator).folder() / "examples.jsonl"
    return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.is_file() else []


def conversation_text(row: dict[str, Any]) -> str:
    """A record in full, for the terminal: turns with traces and calls, then verdicts and metadata."""
    import orjson

    parts: list[tuple[str, Style | None]] = []
    for message in row["messages"]:
        parts.append((f"[{message['role']}]", "heading"))
        if message.get("reasoning_content"):
            parts.append((f"<think>\n{message['reasoning_content']}\n</think>", "weak"))
        if message.get("content"):
            parts.append((message["content"], None))
        calls = [call["function"] for call in message.get("tool_calls") or []]
        parts += [(f"→ {call['name']}({call['arguments']})", "strong") for call in calls]
        parts.append(("", None))
    for verdict in row.get("verdicts") or []:
        found, style = _FOUND[verdict["passed"]]
        score = "" if verdict.get("score") is None else f" ({verdict['score']:g})"
        said = f"verdict  {verdict['name']}: {found}{score} {verdict.get('reason', '')}"
        parts.append((said.rstrip(), style))
    metadata = row.get("metadata") or {}
    if isinstance(metadata, str):
        metadata = orjson.loads(metadata)
    parts.append((f"metadata {orjson.dumps(metadata, option=orjson.OPT_INDENT_2).decode()}", None))
    return "\n".join(styled(printable(text), style, sys.stdout) if style else printable(text) for text, style in parts)


list_command = Command("generators, judges and recipes, each with one line", _no_arguments, _list, "gristmill list")
show_command = Command(
    "example records of a generator, with their proofs",
    _configure_show,
    _show,
    "gristmill show text_to_sql",
)
