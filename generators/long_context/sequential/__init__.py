"""Sequential tasks: a log of numbered notes is read from left to right while something is kept track of.

    context    "[1]\\nThere was drizzle at dawn ...\\n\\n[2]\\nThe Opal account received 40 crowns from Noor.\\n\\n ..."
    question   "What is the balance of the Opal account after the last note, in crowns?"
    trace      "I book what concerns the Opal account, line by line.
                [2] “The Opal account received 40 crowns from Noor.” +40, balance 340 ..."

Seven tasks: `count` (reports of a topic), `keys` (values and how often each is told), `state` (things that pass from
hand to hand), `update` (contradicting statements, the last one holds), `ledger` (balances), `chain` (registers set from
one another), `order` (events in order of time). The trace is written by rule: the notes that matter, in the order in
which they stand, each with its number, its words and where things stand after it.

Source: Nemotron 3 Super report (arXiv 2604.12374), long context: seven sequential tasks with rule-made traces.
"""

from random import Random
from typing import NamedTuple

from generators.long_context.answers import draw_format, write_answer
from generators.long_context.context import Depth, Fillers, Placed, TokenCounter, fill
from generators.long_context.sequential.amounts import chain, ledger
from generators.long_context.sequential.counting import count, keys
from generators.long_context.sequential.ordering import order
from generators.long_context.sequential.story import Step, Story, Task
from generators.long_context.sequential.tracking import state, update
from generators.long_context.wording import asked

TASKS: dict[str, Task] = {
    "chain": chain, "count": count, "keys": keys, "ledger": ledger, "order": order, "state": state, "update": update,
}  # fmt: skip

TOKENS_PER_STEP = 110
"""A context has at least so many tokens for each step that matters, so that most of it doesn't."""

LEADS = (
    "Read the following log of numbered notes. A question comes after it.",
    "Here are notes from a log, in the order in which they were written.",
    "The log below is complete and in order. Each entry has its number in brackets.",
    "These numbered entries were kept over several weeks. Please read them all.",
    "Below are the entries of a daybook, numbered from the first to the last.",
    "I paste a long log here; what I want to know stands at its end.",
)
_QUOTES = (
    "[{number}] “{text}” → {note}.",
    "Note {number}, “{text}” Now: {note}.",
    "({number}) “{text}” This gives {note}.",
    "Entry {number} reads “{text}” After it: {note}.",
    "At [{number}]: “{text}” – {note}.",
)


class Told(NamedTuple):
    """A story in its context: what the user says, the trace, the answer, and what the metadata needs."""

    lead: str
    context: Placed
    question: str
    trace: str
    answer: str
    story: Story
    format: str
    evidence: list[int]


def steps_for(tokens: int, most: int) -> int:
    """How many steps that matter a context of so many tokens has at most."""
    return max(3, min(most, tokens // TOKENS_PER_STEP))


def tell(
    task: str, length: int, depth: Depth, steps: int, fillers: Fillers, counter: TokenCounter, rng: Random
) -> Told:
    """A story whose lead, context and question have `length` tokens together."""
    story = TASKS[task](rng, steps_for(length, steps))
    shape, instruction = draw_format(story.answer, rng)
    lead, question = rng.choice(LEADS), asked(story.question, instruction, rng)
    room = length - counter.count_by_word(f"{lead}\n\n{question}")
    steps_told = counter.pieces_by_word([step.text for step in story.steps])
    context = fill(steps_told, fillers, room, depth, counter, rng)
    numbered = [(step, number) for step, number in zip(story.steps, context.numbers, strict=True) if step.note]
    relevant = [offset for step, offset in zip(story.steps, context.offsets, strict=True) if step.note]
    trace = _trace(story, numbered, rng.choice(_QUOTES))
    return Told(lead, context, question, trace, write_answer(story.answer, shape), story, shape, relevant)


def _trace(story: Story, numbered: list[tuple[Step, int]], quote: str) -> str:
    lines = [quote.format(number=number, text=step.text, note=step.note) for step, number in numbered]
    return "\n".join([story.start, *lines, story.end])
