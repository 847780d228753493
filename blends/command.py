"""`gristmill blend CONFIG`: a weighted, deduplicated, split dataset from runs, files and hub datasets."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gristmill.commands import Command, add_config, check_extra
from gristmill.terminal import StatusLine, tell


def _configure(parser: ArgumentParser) -> None:
    add_config(parser, "the blend's YAML file")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the blend's folder, instead of the config's `out`")


def _blend(arguments: Namespace) -> int:
    check_extra("blend")
    from blends.build import build
    from gristmill.config import read_yaml, validate
    from schemas.blend_config import BlendConfig

    content = read_yaml(arguments.config, arguments.overrides)
    if arguments.out:
        content["out"] = arguments.out
    config = validate(content, BlendConfig, str(arguments.config))
    say = speaker()
    made = build(config, say)
    say("")
    tell(summary_text(made, config.out), 10)
    return 0


def speaker() -> Callable[[str], None]:
    """Says what is being done; an empty line clears it."""
    return StatusLine().say


def summary_text(manifest: dict[str, Any], out: Path) -> str:
    """What came out, for the terminal."""
    total = manifest["total"]
    what = manifest["unit"].replace("_", " ")
    short = f"; {total['realised']:,} of {total['requested']:,} {what} requested"
    asked = short if total["realised"] != total["requested"] else ""
    splits = ", ".join(f"{split['split']} {split['rows']:,}" for split in manifest["splits"])
    dropped = ", ".join(f"{reason} {rows:,}" for reason, rows in manifest["dropped"].items() if rows)
    width = max(len(source["name"]) for source in manifest["sources"])
    lines = [
        f"rows      {manifest['rows']:,} in {out} ({splits}{asked})",
        *(f"source    {source['name']:<{width}}  {_source_text(source)}" for source in manifest["sources"]),
        f"dropped   {dropped or 'nothing'}",
        *_effort_lines(manifest),
        f"report    {out}/report.html",
    ]
    return "\n".join(lines)


def _effort_lines(manifest: dict[str, Any]) -> Iterator[str]:
    """What reasoning control did, where any was asked for."""
    efforts, asked = manifest["reasoning"], manifest["reasoning"]["requested"]
    if asked["off"] or asked["low"]:
        marked = any(source["effort"] for source in manifest["sources"])
        hint = "" if marked or not asked["low"] else " (no source is marked with `effort: low`)"
        yield (
            f"reasoning {efforts['stripped']:,} rows lost their traces, {efforts['with_traces']:,} had some; "
            f"{efforts['low']:,} are of low effort{hint}"
        )


def _source_text(source: dict[str, Any]) -> str:
    return (
        f"{source['rows']:,} rows, {source['share']:.2%} (requested {source['requested']:,.2f}); "
        f"{source['distinct_rows']:,} distinct of {source['rows_read']:,} read"
    )


command = Command(
    "blend runs and datasets in exact shares, with gates and splits",
    _configure,
    _blend,
    "gristmill blend recipes/blend/stage1.yaml --out blends/first",
)
