"""Queries into questions: grammatical English in any style, from the plan alone.

    verbalise(query, Style("interrogative", "conversational", 2), rng).text
    "May I ask: how many visits with a fee above 50 euros are there?"

A question names every column, literal, direction and limit of its plan, so that the query can be written from the
question and the schema. Styles are those of the Nemotron 3 Super report §3.1.1 (SQL): the form of the instruction, its
register and its politeness.
"""

import re
from dataclasses import dataclass
from random import Random

from generators.text_to_sql.grammar import Query
from generators.text_to_sql.verbalise.apart import Form
from generators.text_to_sql.verbalise.frames import Frames
from generators.text_to_sql.verbalise.voice import Instruction, Politeness, Register, Style

__all__ = ["Instruction", "Politeness", "Question", "Register", "Style", "verbalise"]

_IMPERATIVE: tuple[Form, str] = ("imperative", "imperative")
_ASKED: tuple[Form, str] = ("imperative", "question")
_WH: tuple[Form, str] = ("wh", "wh")
_STATED: tuple[Form, str] = ("np", "statement")
_FORMS: dict[Instruction, tuple[tuple[Form, str], ...]] = {
    "imperative": (_IMPERATIVE,),
    "declarative": (_STATED,),
    "interrogative": (_WH, _WH, _ASKED),
    "contextual": (_IMPERATIVE, _WH, _STATED, _ASKED),
    "abbreviated": (("terse", "terse"),),
}
"""For each form of instruction: what the core of the sentence is, and which polite frames go around it."""


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    style: Style


def verbalise(query: Query, style: Style, rng: Random) -> Question:
    """The query as a question in this style."""
    frames = Frames(query, style, rng)
    voice = frames.voice
    form, frame = rng.choice(_FORMS[style.instruction])
    core = frames.core(form)
    template = voice.pick(f"polite_{frame}.{style.politeness}")
    while ":" in template and (" ~ " in core or (form == "terse" and ":" in core)):  # "For each city, your task: ..."
        template = voice.pick(f"polite_{frame}.{style.politeness}")
    if form == "terse":
        notes = [f"; {note[:1].lower()}{note[1:].rstrip('.')}" for note in frames.notes]
        return Question(voice.finish(wrapped(template, core, []) + "".join(notes), full=False), style)
    text = wrapped(template, core, frames.notes)
    if style.instruction == "contextual":
        scene = {"subjects": frames.subject.plural, "industry": query.database.industry}
        text = f"{voice.say('context', **scene)} {text}"
    return Question(voice.finish(text), style)


def wrapped(template: str, core: str, notes: list[str]) -> str:
    """The core in its polite frame. What stands before a "~" in the core goes in front of the frame, or, if the frame
    opens with a clause of its own ("Sorry to bother you, but"), behind that; the notes go right after the sentence that
    holds the core, before any thanks."""
    front, mark, core = core.rpartition(" ~ ")
    slot = "{core}" if "{core}" in template else "{np}"
    head, _, tail = template.partition(slot)
    stop = re.search(r"[.?!]", tail)
    end = stop.end() if stop else len(tail)
    if mark and (opening := re.match(r"So, |.*, but ", head)):
        head = f"{opening[0]}{front}, {head[opening.end() :]}"
    elif mark:
        head = f"{front}, " + (head if re.match(r"I\b", head) else head[:1].lower() + head[1:])
    said = head + core + tail[:end]
    return said + "".join(f" {note}" for note in notes) + tail[end:]
