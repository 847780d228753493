"""`gristmill lint PATH`: is a dataset ready for supervised fine-tuning? See lint.py for what is checked."""

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from gristmill.commands import Command, check_extra
from gristmill.errors import ConfigError
from gristmill.terminal import printable, tell

if TYPE_CHECKING:
    from blends.lint import Report

WIDTH = 110


def _configure(parser: ArgumentParser) -> None:
    parser.epilog = "Exit status: 0 without errors (there may be warnings), 1 with some, or without a row."
    parser.add_argument("path", help="a run, a blend, a folder, a .parquet, .jsonl, .json or .arrow file, or hf://NAME")
    parser.add_argument("--tokenizer", help="as in sft: renders each row and counts its tokens")
    parser.add_argument("--template", default="nemotron3", help="as in sft (default: nemotron3)")
    parser.add_argument("--format", choices=["text", "json"], default="text", help="default: text")


def _lint(arguments: Namespace) -> int:
    from blends.command import speaker

    check_extra("blend")
    from blends.lint import lint
    from blends.sizes import Rendering
    from blends.sources import inputs_at

    if (arguments.tokenizer or "").startswith("train:"):
        raise ConfigError("--tokenizer: name the one that is there, a folder, a hub id or embedded.")
    inputs = inputs_at(arguments.path, "lint", splits=("train", "valid"))
    rendering = Rendering(arguments.tokenizer, arguments.template, "truncate") if arguments.tokenizer else None
    say = speaker()
    report = lint(inputs, rendering, say)
    say("")
    if arguments.format == "json":
        print(report_json(report))
    else:
        tell(printable(report_text(arguments.path, report)), 11)
    return 1 if report.has_errors or not report.readable else 0


def report_json(report: "Report") -> str:
    import orjson

    found = [one._asdict() for one in report.found]
    return orjson.dumps({**report._asdict(), "found": found}, option=orjson.OPT_INDENT_2).decode()


def report_text(path: str, report: "Report") -> str:
    """What was found, the worst first, each with an example."""
    lines = [f"rows       {report.rows:,} in {path}, {report.readable:,} readable"]
    for what, values in report.lengths.items():
        lines.append(f"{what:<10} " + ", ".join(f"{name} {value:,.0f}" for name, value in values.items()))
    if report.languages:
        lines.append("languages  " + ", ".join(f"{name} {rows:,}" for name, rows in report.languages.items()))
    for one in report.found:
        rows = f"{one.rows:,} row{'' if one.rows == 1 else 's'} ({one.rows / report.rows:.2%})"
        share = rows if one.check != "mixed_types" else "columns"
        lines.append(f"{one.level:<10} {one.check}: {share}")
        lines += [f"             {' '.join(example.split())[:WIDTH]}" for example in one.examples]
    return "\n".join([*lines, _verdict(report)])


def _verdict(report: "Report") -> str:
    if not report.readable:
        return "verdict    nothing here can be trained on."
    kinds = [sum(one.level == level for one in report.found) for level in ("error", "warning")]
    if not any(kinds):
        return "verdict    ready: nothing was found."
    return f"verdict    {'not ready' if kinds[0] else 'ready'}: {kinds[0]} kinds of errors, {kinds[1]} of warnings."


command = Command(
    "is a dataset ready for fine-tuning: roles, tools, reasoning, tokens",
    _configure,
    _lint,
    "gristmill lint runs/my",
)
