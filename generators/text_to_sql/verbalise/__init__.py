"""Queries into questions: grammatical English in any style, from the plan alone.

    verbalise(query, Style("interrogative", "conversational", 2), rng).text
    "May I ask: how many visits with a fee above 50 euros are there?"

A question names every column, literal, direction and limit of its plan, so that the query can be written from the
question and the schema. Styles are those of the Nemotron 3 Super report §3.1.1 (SQL): the form of the instruction, its
register and its politeness.
"""

from dataclasses import dataclass
from random import Random

from generators.text_to_sql.grammar import Query
from generators.text_to_sql.verbalise.frames import Form, Frames, wrapped
from generators.text_to_sql.verbalise.voice import Instruction, Politeness, Register, Style

__all__ = ["Instruction", "Politeness", "Question", "Register", "Style", "verbalise"]

_FORMS: dict[str, tuple[str, ...]] = {
    "imperative": ("imperative",),
    "declarative": ("np",),
    "interrogative": ("wh", "wh", "question"),
    "contextual": ("imperative", "wh", "np", "question"),
    "abbreviated": ("terse",),
}
_POLITE = {"imperative": "imperative", "question": "question", "wh": "wh", "np": "statement", "terse": "terse"}


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    style: Style


def verbalise(query: Query, style: Style, rng: Random) -> Question:
    """The query as a question in this style."""
    frames = Frames(query, style, rng)
    voice = frames.voice
    form = rng.choice(_FORMS[style.instruction])
    content: Form = "imperative" if form == "question" else form  # type: ignore[assignment]
    core = frames.core(content)
    template = voice.pick(f"polite_{_POLITE[form]}.{style.politeness}")
    while " ~ " in core and ":" in template:  # "For each city, your task: ..." is no sentence
        template = voice.pick(f"polite_{_POLITE[form]}.{style.politeness}")
    notes = frames.notes
    text = wrapped(template, core, [] if form == "terse" else notes)
    if form == "terse":
        return Question(voice.finish(text + "".join(f"; {note[:1].lower()}{note[1:].rstrip('.')}" for note in notes), full=False), style)
    if style.instruction == "contextual":
        scene = {"subjects": frames.subject.plural, "industry": query.database.industry}
        text = f"{voice.say('context', **scene)} {text}"
    return Question(voice.finish(text), style)
