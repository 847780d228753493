"""Answers to long_context's sequential questions, found anew in the text of the context.

Nothing of how the stories were drawn is used: a note is read by the sentences of words.yaml turned into patterns,
and what
follows from all notes is worked out here.
"""

import re
from collections import Counter
from datetime import date, datetime
from functools import cache
from typing import Any

from generators.long_context.sequential.story import words

_SLOT = re.compile(r"\\\{(\w+)\\\}")
_VALUES = {"amount": r"\d+", "date": r"\d+ \w+ \d+"}


@cache
def _pattern(frame: str) -> re.Pattern[str]:
    """A sentence with slots as a pattern; a slot that comes twice has the same text."""
    seen: set[str] = set()

    def slot(match: re.Match[str]) -> str:
        name = match[1]
        if name in seen:
            return f"(?P={name})"
        seen.add(name)
        return f"(?P<{name}>{_VALUES.get(name, '.+?')})"

    return re.compile(_SLOT.sub(slot, re.escape(frame)), re.IGNORECASE)


def read(frames: list[str], text: str) -> dict[str, str] | None:
    """The slots of the first sentence that the text is."""
    found = (_pattern(frame).fullmatch(text) for frame in frames)
    return next((match.groupdict() for match in found if match), None)


def notes_of(asked: str) -> dict[int, str]:
    """The notes of a user turn by their numbers."""
    return {int(number): text for number, text in re.findall(r"^\[(\d+)\]\n(.*)$", asked, re.MULTILINE)}


def solve(kind: str, facts: dict[str, Any], notes: list[str]) -> Any:
    return _SOLVERS[kind](facts, notes)


def _count(facts: dict[str, Any], notes: list[str]) -> int:
    topic = next(topic for topic in words()["topics"] if topic["name"] == facts["topic"])
    met = [found for note in notes if (found := read(topic["hits"], note))]
    return sum(facts["person"] in ("", found["person"]) for found in met)


def _keys(facts: dict[str, Any], notes: list[str]) -> Any:
    told = [found for note in notes if (found := read(words()["told"], note))]
    told = [found for found in told if found["place"] in facts["places"]]
    counts = Counter(found["place"] for found in told)
    if facts["variant"] == "most":
        (best, most), (_, second) = counts.most_common(2)
        assert most > second
        return best
    values = {found["place"]: found["value"] for found in told}
    assert all(values[found["place"]] == found["value"] for found in told)
    return {place: f"{values[place]} ({counts[place]})" for place in facts["places"]}


def _state(facts: dict[str, Any], notes: list[str]) -> Any:
    where, holders = "", []
    for note in notes:
        for kind, frames in words()["moves"].items():
            found = read(frames, note)
            if found is None or found["thing"] != facts["thing"]:
                continue
            if kind == "take":
                assert where in ("", found["place"])
                where = found["person"]
            elif kind == "give":
                assert where == found["person"]
                where = found["other"]
            else:
                assert where == found["person"]
                where = found["place"]
            if kind != "put":
                holders.append(where)
    if facts["variant"] == "hands":
        return len(set(holders))
    if facts["variant"] == "where":
        return where
    return next(holder for holder in reversed(holders) if holder != where)


def _ledger(facts: dict[str, Any], notes: list[str]) -> int:
    fund, balance, history = facts["fund"], 0, []
    for note in notes:
        for kind, frames in words()["entries"].items():
            found = read(frames, note)
            if found is None or fund not in (found["fund"], found.get("second")):
                continue
            amount = int(found["amount"])
            comes_in = kind in ("open", "in") or (kind == "move" and found["second"] == fund)
            balance += amount if comes_in else -amount
            history.append(balance)
    return {"final": history[-1], "lowest": min(history), "highest": max(history)}[facts["variant"]]


def _chain(facts: dict[str, Any], notes: list[str]) -> int:
    values: dict[str, int] = {}
    order = ("set", "sum", "copy", "add", "subtract", "double")
    for note in notes:
        found, kind = next(
            ((found, kind) for kind in order if (found := read(words()["assigned"][kind], note))), ({}, "")
        )
        amount = int(found.get("amount") or 0)
        match kind:
            case "set":
                values[found["name"]] = amount
            case "sum":
                values[found["name"]] = values[found["source"]] + values[found["second"]]
            case "copy":
                values[found["name"]] = values[found["source"]]
            case "add":
                values[found["name"]] += amount
            case "subtract":
                values[found["name"]] -= amount
            case "double":
                values[found["name"]] *= 2
    return values[facts["register"]]


def _order(facts: dict[str, Any], notes: list[str]) -> Any:
    events: list[tuple[date, str]] = []
    for note in notes:
        found = read(words()["dated"], note)
        if found and found["estate"] == facts["estate"]:
            deed = read(words()["deeds"], found["deed"])
            assert deed
            events.append((datetime.strptime(found["date"], "%d %B %Y").date(), deed["place"]))
    places = [place for _, place in sorted(events)]
    return {"list": places, "nth": places[facts["nth"] - 1], "last": places[-1]}[facts["variant"]]


def _update(facts: dict[str, Any], notes: list[str]) -> Any:
    current: dict[str, str | int] = {}
    changes = 0
    for note in notes:
        for field in words()["fields"].values():
            found = read([*field["first"], *field["again"]], note)
            if found and found["club"] == facts["club"] and field["asked"] in facts["fields"]:
                value = int(found["value"]) if found["value"].isdigit() else found["value"]
                changes += field["asked"] in current and current[field["asked"]] != value
                current[field["asked"]] = value
    return changes if facts["variant"] == "changes" else {field: current[field] for field in facts["fields"]}


_SOLVERS = {
    "chain": _chain, "count": _count, "keys": _keys, "ledger": _ledger, "order": _order, "state": _state,
    "update": _update,
}  # fmt: skip
