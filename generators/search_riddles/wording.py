"""A walk in words. The same parts make the draft, which names the start, and the riddle, which names no entity of the
walk but says what it is and what else holds of it.

    draft    Which language is an official language of a country that borders the country that is the setting of Aida?
    riddle   An opera has music by someone ... Which tongue has official status in a land that ...?

Three shapes, each of one or two sentences: `nested` goes from the answer back to the start in one sentence, `forward`
tells the walk from the start and asks for its end, `halves` describes an entity in the middle and asks on from there.
"""

import re
from dataclasses import dataclass
from random import Random
from typing import Literal, get_args

from generators.search_riddles.knowledge import Knowledge, Step
from generators.search_riddles.vocabulary import Kind, Vocabulary
from generators.search_riddles.walks import Walk

Shape = Literal["nested", "forward", "halves"]
SHAPES: tuple[Shape, ...] = get_args(Shape)
LONGEST_NESTED = 5
"""Hops that one sentence can carry from the answer back to the start."""

Told = dict[int, list[str]]
"""What the constraints say, by the position of the entity that they say it of."""

_ASK = (
    "Which {noun} {clause}?",
    "What is the name of the {noun} {that} {clause}?",
    "Name the {noun} {that} {clause}.",
    "Which {noun} is it {that} {clause}?",
    "I am looking for the {noun} {that} {clause}; {who}?",
    "Can you find out which {noun} {clause}?",
    "Find the {noun} {that} {clause}.",
    "Please identify the {noun} {that} {clause}.",
    "There is one {noun} {that} {clause}: which one?",
    "Under what name do we know the {noun} {that} {clause}?",
)
_BEGIN = (
    "Think of {start}.", "Take {start}.", "Picture {start}.", "Consider {start}.", "Start from {start}.",
    "Let us begin with {start}.", "Somewhere there is {start}.", "My trail starts at {start}.", "Imagine {start}.",
    "I have in mind {start}.",
)  # fmt: skip
_PLAIN_THE = re.compile(
    r"^(?:University|Museum|Gulf|Bay|Sea|Strait|Isle|Republic|Kingdom|United|Organi[sz]ation|Conservatoire|Battle)\b"
    r"|\b(?:Islands|States|Netherlands|Philippines|Maldives|Bahamas|Republic|Emirates|Ocean|Sea|Mountains|Olympics"
    r"|Union|Medal|Prize|Institute|Academy|Museum|Gallery|Delta|Highlands|Peninsula)$"
)
_APPOSITION = re.compile(
    r"\b(?:the \w+|called|genre|alliance|mother) (?<!of )(?<!for )(?<!in )(?<!by )(?<!to )(?<!at )\{\}"
)
_DETERMINERS = ("a", "a", "a", "some", "a certain")
_INDEFINITE = ("a ", "an ", "some ", "that ")
_CLAUSE = re.compile(
    r" (?:that|which|who) "
    r"| (?:\w+ed|born|found|set|run|written|made|shot|drawn|home) (?:in|by|at|from|for|to|of|after|with) "
)
_PARTICIPLE = re.compile(
    r"(?:is|was) (?=(?:\w+ed|born|found|set|run|written|made|shot|drawn|spelt|home)(?: out| up| under the direction)? "
    r"(?:in|by|at|from|for|to|of|after|with)\b)"
)
_SHORTENED = 0.5
_VOWEL = re.compile(r"(?!uni|eu|one\b|use)[aeiou]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Constraint:
    """Something else that holds of a hidden entity: a statement whose other end is named."""

    position: int
    step: Step


def indefinite(noun: str) -> str:
    return f"{'an' if _VOWEL.match(noun) else 'a'} {noun}"


class Wording:
    """The words of one question: which of several wordings each relation and each class gets is drawn once."""

    def __init__(self, graph: Knowledge, vocabulary: Vocabulary, walk: Walk, rng: Random) -> None:
        self._graph, self._vocabulary, self._walk, self._rng = graph, vocabulary, walk, rng
        self._nouns = [rng.choice(kind.nouns) for kind in walk.kinds]

    def name(self, identity: str) -> str:
        """A named entity, with the article that its kind of name has."""
        entity = self._graph.entity(identity)
        kind = self._vocabulary.kind(entity)
        article = kind.article if kind else ""
        if entity.label.startswith(("The ", "the ")):
            return entity.label
        if article == "a":
            return indefinite(entity.label)
        return f"the {entity.label}" if article == "the" or _PLAIN_THE.search(entity.label) else entity.label

    def draft(self) -> str:
        """A question that names the start, and says of each step what it says."""
        last = len(self._walk.steps)
        clause = self._back(last, {}, stop=0, bottom=self.name(self._walk.entities[0]))
        return _tidy(self._ask(last, clause, _ASK[0]))

    def shape(self) -> Shape:
        """One of those that a walk of this length can have."""
        return self._rng.choice(SHAPES if len(self._walk.steps) <= LONGEST_NESTED else SHAPES[1:])

    def riddle(self, constraints: list[Constraint], shape: Shape) -> str:
        """A question that names none of the walk's entities."""
        told: Told = {}
        for one in constraints:
            told.setdefault(one.position, []).append(self._said(one.step, self.name(one.step.other)))
        last, form = len(self._walk.steps), self._rng.choice(_ASK)
        if shape == "nested":
            return _tidy(self._ask(last, self._back(last, told, stop=0, bottom=self._plain(0, told)), form))
        if shape == "forward":
            text, middle = self._forward(told), last - 1
        else:
            middle = max(1, last // 2)
            start = self._noun(middle, self._back(middle, told, stop=0, bottom=self._plain(0, told)))
            text = self._rng.choice(_BEGIN).format(start=start)
        noun = self._nouns[middle]
        bottom = f"that {noun}"
        if self._nouns[: middle + 1].count(noun) > 1:
            bottom = f"the {noun} mentioned last" if shape == "forward" else f"the {noun} mentioned first"
        inner = self._back(last, told, stop=middle, bottom=bottom)
        return _tidy(f"{text} {self._ask(last, inner, form)}")

    def _ask(self, position: int, clauses: list[str], form: str) -> str:
        clause = _joined(clauses)
        kind = self._walk.kinds[position]
        who = "who is it" if kind.who else "what is it called"
        return form.format(noun=self._nouns[position], that=_that(kind), clause=clause, who=who)

    def _said(self, step: Step, other: str) -> str:
        """A long description of the other entity stands at the end, so that nothing hangs in the air behind it."""
        wordings = self._vocabulary.relation(step.property).said(step.forward)
        if other.startswith(_INDEFINITE):
            wordings = [wording for wording in wordings if not _APPOSITION.search(wording)] or wordings
        if _CLAUSE.search(other):
            wordings = [wording for wording in wordings if wording.endswith("{}")] or wordings
        return self._rng.choice(wordings).replace("{}", other)

    def _back(self, position: int, told: Told, stop: int, bottom: str) -> list[str]:
        """What is said of an entity: its constraints, and how it hangs on the one before it, down to `stop`."""
        step = self._walk.steps[position - 1]
        before = position - 1
        other = bottom if before == stop else self._noun(before, self._back(before, told, stop, bottom))
        return [
            *told.get(position, []),
            self._said(Step(step.property, not step.forward, self._walk.entities[before]), other),
        ]

    def _forward(self, told: Told) -> str:
        """The walk up to its last but one entity, as one sentence."""
        text = self._plain(0, told)
        for position, step in enumerate(self._walk.steps[:-1], start=1):
            link = self._said(step, self._plain(position, told))
            text += f" {link}" if position == 1 else f"{self._going_on(position - 1)} {link}"
        return f"{text[0].upper()}{text[1:]}."

    def _going_on(self, position: int) -> str:
        pronoun = "who" if self._walk.kinds[position].who else "which"
        noun = self._nouns[position]
        return self._rng.choice((f", {pronoun}", f", {pronoun}", f", and this {noun}", f"; that {noun}"))

    def _plain(self, position: int, told: Told) -> str:
        """An entity by its class and its constraints."""
        said = told.get(position, [])
        return self._noun(position, said) if said else self._some(position)

    def _noun(self, position: int, clauses: list[str]) -> str:
        """`a novelist who was born in ...`, or `a novelist born in ...`"""
        some, that = self._some(position), _that(self._walk.kinds[position])
        short = _PARTICIPLE.match(clauses[0]) if len(clauses) == 1 else None
        if short and self._rng.random() < _SHORTENED:
            return f"{some} {clauses[0][short.end() :]}"
        return f"{some} {that if that == 'who' else self._rng.choice(('that', 'which'))} {_joined(clauses)}"

    def _some(self, position: int) -> str:
        noun, determiner = self._nouns[position], self._rng.choice(_DETERMINERS)
        return indefinite(noun) if determiner == "a" else f"{determiner} {noun}"


def _tidy(text: str) -> str:
    """A name may end with a full stop of its own (Warner Bros.)."""
    return text.replace("..", ".")


def _that(kind: Kind) -> str:
    return "who" if kind.who else "that"


def _joined(clauses: list[str]) -> str:
    if len(clauses) < 3:
        return " and ".join(clauses)
    return f"{', '.join(clauses[:-1])} and {clauses[-1]}"
