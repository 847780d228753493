"""Rows of long_context's records, read back from the text of a context in any of its layouts."""

import csv
import json
import re
from datetime import date, datetime
from html import unescape
from itertools import groupby
from typing import Any

Rows = list[dict[str, Any]]

_DAY = re.compile(r"\d{1,2} [A-Z][a-z]+ \d{4}")


def rows_of(context: str, layout: str, key: str) -> Rows:
    """The rows of all tables, by their columns' labels; `key` is the label of the first column of a block's key."""
    return [{label: _value(text) for label, text in row.items()} for row in _READERS[layout](context, key)]


def _value(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    if _DAY.fullmatch(text):
        return datetime.strptime(text, "%d %B %Y").date()
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    return None if text == "none" else text


def _sentences(context: str, key: str) -> Rows:
    rows = []
    for block in context.split("\n\n"):
        name, _, facts = block.partition(": the ")
        row: dict[str, Any] = {"": name}
        for fact in re.split(r", and the |, the |\. The ", facts.removesuffix(".")):
            label, _, value = fact.partition(" is ")
            row[label] = value
        rows.append(row)
    return rows


def _block(context: str, key: str) -> Rows:
    return [dict(line.split(": ", 1) for line in block.split("\n")) for block in context.split("\n\n")]


def _bulleted(context: str, key: str) -> Rows:
    rows = []
    for block in context.split("\n\n"):
        name, *lines = block.split("\n")
        rows.append({"": name.removeprefix("## "), **dict(line[2:].split(": ", 1) for line in lines)})
    return rows


def _json(context: str, key: str) -> Rows:
    return [json.loads(line) for line in context.split("\n")]


def _xml(context: str, key: str) -> Rows:
    rows = []
    for line in context.split("\n"):
        fields = re.findall(r"<(\w+)>([^<]*)</\1>", line)
        rows.append({tag.replace("_", " "): unescape(value) for tag, value in fields})
    return rows


def _sections(context: str) -> list[list[str]]:
    """Lines between blank ones, and between those that name a table."""
    lines = context.split("\n")
    return [list(group) for blank, group in groupby(lines, lambda line: not line.strip()) if not blank]


def _csv(context: str, key: str) -> Rows:
    return [row for section in _sections(context) for row in csv.DictReader(section[1:])]


def _markdown(context: str, key: str) -> Rows:
    rows = []
    for section in _sections(context):
        if section[0].startswith("###"):
            continue
        cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in section]
        rows += [dict(zip(cells[0], line, strict=True)) for line in cells[2:]]
    return rows


_READERS = {
    "sentences": _sentences, "block": _block, "bulleted": _bulleted, "json": _json, "xml": _xml, "csv": _csv,
    "markdown": _markdown,
}  # fmt: skip


def days_in(text: str) -> list[date]:
    return [datetime.strptime(found, "%d %B %Y").date() for found in _DAY.findall(text)]
