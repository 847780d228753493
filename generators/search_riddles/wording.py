"""A walk in words. The same parts make the draft, which names the start, and the riddle, which names no entity of the
walk but says what it is and what else holds of it.

    draft    Which language is official in a country bordering the setting of Aida?
    riddle   An opera by a native of Busseto is set in a country ... Which tongue is official in that land?

Four shapes, each of one or two sentences:

    nested     from the answer back to the start, in one sentence
    forward    the walk from its start on, and a question for its end
    halves     describes an entity in the middle and asks on from there
    asked      asks for the end first, and then says what the entity in the middle is

What is said of an entity follows its noun as a verb (`a novel that was written by ...`) or stands behind it (`a novel
by ...`), or takes the noun's place (`the author of ...`); which of them, and which wording, is drawn each time.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Literal, get_args

from generators.search_riddles.knowledge import Knowledge, Step
from generators.search_riddles.vocabulary import Kind, Side, Vocabulary
from generators.search_riddles.walks import Walk

Shape = Literal["nested", "forward", "halves", "asked"]
SHAPES: tuple[Shape, ...] = get_args(Shape)
LONGEST_NESTED = 5
"""Hops that one sentence can carry from the answer back to the start."""

Told = dict[int, list["Clause"]]
"""What the constraints say, by the position of the entity that they say it of."""

_WHICH = (
    "Which {noun} {clause}?", "Which {noun} {clause}?", "Which {noun} {clause}?", "Can you say which {noun} {clause}?",
    "Tell me which {noun} {clause}.", "Do you know which {noun} {clause}?", "Say which {noun} {clause}.",
    "Find out which {noun} {clause}.", "Which {noun} is it {that} {clause}?", "I wonder which {noun} {clause}.",
    "Which is the {noun} {that} {clause}?", "Work out which {noun} {clause}.",
)  # fmt: skip
_THE = (
    "Name {the}.", "Find {the}.", "Identify {the}.", "What do we call {the}?", "What is the name of {the}?",
    "I am looking for {the}.", "Search for {the}.", "Help me find {the}.", "Track down {the}.", "Can you name {the}?",
    "Please identify {the}.", "Which one is {the}?", "Determine {the}.", "Hunt down {the}.",
)  # fmt: skip
_WHO = ("Who is {the}?", "Who was {the}?")
_SO = ("{}?", "{}?", "{}?", "So {}?", "And {}?", "Now, {}?", "Tell me, {}?")
_BEGIN = (
    "Think of {}.", "Take {}.", "Picture {}.", "Consider {}.", "Start from {}.", "Begin with {}.", "Imagine {}.",
    "Somewhere there is {}.", "My trail starts at {}.", "I have in mind {}.", "First find {}.", "Look up {}.",
    "It all begins with {}.", "The key is {}.", "This is about {}.", "There exists {}.", "Suppose you know {}.",
    "Given {},", "Starting from {},", "Once you have found {},", "The first goal is {}.",
    "What you need first is {}.",
)  # fmt: skip
_CLUE = (
    "The {noun} in question {clause}.", "That {noun} {clause}.", "A hint: that {noun} {clause}.",
    "The {noun} meant here {clause}.", "As a clue, this {noun} {clause}.", "The said {noun} {clause}.",
    "For the record, the {noun} {clause}.", "Mind that the {noun} {clause}.", "Note that this {noun} {clause}.",
    "I mean the {noun} {that} {clause}.",
)  # fmt: skip
FORMS = (*_WHICH, *_THE, *_WHO, *_SO, *_BEGIN, *_CLUE, "mentioned first last")
"""All words that don't come from classes and relations."""

_PLAIN_THE = re.compile(
    r"^(?:(?:Technical |Federal |National |Polytechnic |Pontifical Catholic )?University|Museum|Academy"
    r"|Royal (?:College|Academy)|Church|Cathedral|Palace|Gulf|Bay|Sea|Strait|Isle|Republic|Kingdom|United"
    r"|Organi[sz]ation|Commonwealth|Conservatoire|Battle)\b"
    r"|^(?:Sun|Moon|OECD|OSCE|Bundesliga|Eredivisie)$"
    r"|\b(?:Islands|States|Netherlands|Philippines|Maldives|Bahamas|Republic|Emirates|Ocean|Sea|Mountains|Olympics"
    r"|Union|Medal|Prize|Institute|Academy|Museum|Gallery|Delta|Highlands|Peninsula|League|Council|Community"
    r"|Organi[sz]ation|School|Conservatory|Tower|Mosque|Building|House)$"
)
_APPOSITION = re.compile(
    r"\b(?:the \w+|called|genre|alliance|mother) (?<!of )(?<!for )(?<!in )(?<!by )(?<!to )(?<!at )\{\}"
)
_DETERMINERS = ("a", "a", "a", "a", "a", "a", "some", "a certain")
_CLAUSAL = ("whose ", "where ", "that ")
_VOWEL = re.compile(r"(?!uni|eu|one\b|use)[aeiou]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Constraint:
    """Something else that holds of a hidden entity: a statement whose other end is named."""

    position: int
    step: Step


@dataclass(frozen=True, slots=True)
class Clause:
    """One thing that is said of an entity. Where the `other` end is `described` at length it has to come last, so that
    nothing hangs in the air behind it."""

    side: Side
    other: str
    described: bool

    @property
    def verbs(self) -> list[str]:
        return self._filled(self.side.verbs)

    @property
    def behind(self) -> list[str]:
        return self._filled(self.side.behind)

    @property
    def names(self) -> list[str]:
        return self._filled(self.side.names)

    def questions(self, noun: str) -> list[str]:
        asked = self._filled(self.side.questions)
        return [] if self.described else [question.replace("{noun}", noun) for question in asked]

    def _filled(self, wordings: list[str]) -> list[str]:
        if self.described:
            last = [wording for wording in wordings if wording.endswith("{}")]
            wordings = [wording for wording in last if not _APPOSITION.search(wording)] or last
        return [wording.replace("{}", self.other) for wording in wordings]


def indefinite(noun: str) -> str:
    return f"{'an' if _VOWEL.match(noun) else 'a'} {noun}"


class Wording:
    """The words of one question: what each class is called is drawn once, how each relation is said each time.
    Without `names` each entity is called by its class, and by nothing that stands for it (`the author of ...`)."""

    def __init__(self, graph: Knowledge, vocabulary: Vocabulary, walk: Walk, rng: Random, names: bool = True) -> None:
        self._graph, self._vocabulary, self._walk, self._rng, self._names = graph, vocabulary, walk, rng, names
        self._nouns = list[str]()
        for kind in walk.kinds:  # two of a class are called differently, as long as there are words
            fresh = [noun for noun in kind.nouns if noun not in self._nouns]
            self._nouns.append(rng.choice([*(fresh or kind.nouns), (fresh or kind.nouns)[0]]))

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
        clauses = self._back(last, {}, stop=0, bottom=self.name(self._walk.entities[0]))
        return _tidy(_WHICH[0].format(noun=self._nouns[last], clause=self._joined(clauses)))

    def shape(self) -> Shape:
        """One of those that a walk of this length and with these nouns can have."""
        last = len(self._walk.steps)
        fitting: list[Shape] = ["forward", "halves"]
        fitting += ["nested"] if last <= LONGEST_NESTED else []
        fitting += ["asked"] if self._nouns.count(self._nouns[_middle(last)]) == 1 else []
        return self._rng.choice(fitting)

    def riddle(self, constraints: list[Constraint], shape: Shape) -> str:
        """A question that names none of the walk's entities."""
        told: Told = {}
        for one in constraints:
            told.setdefault(one.position, []).append(self._clause(one.position, one.step, self.name(one.step.other)))
        last = len(self._walk.steps)
        if shape == "nested":
            return _tidy(self._ask(last, self._back(last, told, stop=0, bottom=None)))
        if shape == "forward":
            asked = self._ask(last, self._back(last, told, stop=last - 1, bottom=self._again(last - 1, "last")))
            return _tidy(f"{self._forward(told)} {asked}")
        middle = _middle(last)
        before = self._back(middle, told, stop=0, bottom=None)
        if shape == "asked":
            asked = self._ask(last, self._back(last, told, stop=middle, bottom=self._some(middle)))
            clue = self._rng.choice(_CLUE)
            that = _that(self._walk.kinds[middle])
            return _tidy(f"{asked} {clue.format(noun=self._nouns[middle], that=that, clause=self._joined(before))}")
        begun = self._rng.choice(_BEGIN).format(self._noun(middle, before, instead=False))
        asked = self._ask(last, self._back(last, told, stop=middle, bottom=self._again(middle, "first")))
        asked = asked if begun.endswith(".") or asked.startswith("I ") else f"{asked[0].lower()}{asked[1:]}"
        return _tidy(f"{begun} {asked}")

    def _again(self, position: int, where: str) -> str:
        """An entity that was spoken of before."""
        noun = self._nouns[position]
        return f"that {noun}" if self._nouns.count(noun) == 1 else f"the {noun} mentioned {where}"

    def _ask(self, position: int, clauses: list[Clause]) -> str:
        noun, kind, rng = self._nouns[position], self._walk.kinds[position], self._rng
        if len(clauses) == 1 and (questions := clauses[0].questions(noun)) and rng.random() < 0.5:
            asked = rng.choice(_SO).format(rng.choice(questions))
            return f"{asked[0].upper()}{asked[1:]}"
        if rng.random() < 0.4:
            return rng.choice(_WHICH).format(noun=noun, that=_that(kind), clause=self._joined(clauses))
        form = rng.choice((*_THE, *_WHO) if kind.who else _THE)
        return form.format(the=self._noun(position, clauses, head=f"the {noun}"))

    def _clause(self, position: int, step: Step, other: str, described: bool = False) -> Clause:
        end = self._vocabulary.kind(self._graph.entity(step.other))
        relation = self._vocabulary.relation(step.property, self._walk.kinds[position] if step.forward else end)
        return Clause(relation.said(step.forward), other, described)

    def _back(self, position: int, told: Told, stop: int, bottom: str | None) -> list[Clause]:
        """What is said of an entity: its constraints, and how it hangs on the one before it, down to `stop`, which is
        called `bottom`, or else by its class and its constraints."""
        step, before = self._walk.steps[position - 1], position - 1
        backwards = Step(step.property, not step.forward, self._walk.entities[before])
        if before > stop:
            hung = self._clause(position, backwards, self._noun(before, self._back(before, told, stop, bottom)), True)
        else:
            described = bottom is None and bool(told.get(before))
            hung = self._clause(position, backwards, bottom or self._plain(before, told), described)
        return [*told.get(position, []), hung]

    def _forward(self, told: Told) -> str:
        """The walk up to its last but one entity, as one sentence."""
        text = self._plain(0, told)
        for position, step in enumerate(self._walk.steps[:-1], start=1):
            other = self._plain(position, told)
            link = self._clause(position - 1, step, other, bool(told.get(position)))
            text += f" {self._rng.choice(link.verbs)}" if position == 1 else self._linked(position, link, other)
        return f"{text[0].upper()}{text[1:]}."

    def _linked(self, position: int, link: Clause, other: str) -> str:
        """How the sentence goes on from an entity to the one at `position`."""
        noun, step = self._nouns[position - 1], self._walk.steps[position - 1]
        pronoun = "who" if self._walk.kinds[position - 1].who else "which"
        verb = self._rng.choice(link.verbs)
        ways = [f", {pronoun} {verb}", f", {pronoun} {verb}", f", and this {noun} {verb}", f"; that {noun} {verb}"]
        ways += [f", {text}" for text in link.behind if text.startswith("whose ")]
        if self._names and self._nouns[:position].count(noun) == 1:
            backwards = Step(step.property, not step.forward, self._walk.entities[position - 1])
            known = self._clause(position, backwards, f"that {noun}").names
            ways += [f"; {text} is {other}" for text in known if text.startswith("the ")] * 2
        return self._rng.choice(ways)

    def _plain(self, position: int, told: Told) -> str:
        """An entity by its class and its constraints."""
        said = told.get(position, [])
        return self._noun(position, said) if said else self._some(position)

    def _noun(self, position: int, clauses: list[Clause], head: str = "", instead: bool = True) -> str:
        """`a novelist who was born in ...`, `a novelist native to ...`; where something stands for it, `the author of
        ...`. With a `head` there is one such entity alone."""
        first, *rest = clauses
        forms = {"verb": first.verbs, "behind": first.behind}
        if self._names and instead and not rest:
            forms["name"] = first.names
        form = self._rng.choice([form for form, wordings in forms.items() if wordings])
        text = self._rng.choice(forms[form])
        if form == "name":
            return re.sub(r"^an? ", "the ", text) if head else text
        head, that = head or self._some(position), _that(self._walk.kinds[position])
        that = that if that == "who" else self._rng.choice(("that", "which"))
        if form == "verb":
            return f"{head} {that} {_listed([text, *self._drawn(rest)])}"
        also = " and" if rest and text.startswith(_CLAUSAL) else ""
        return f"{head} {text}{also} {that} {self._joined(rest)}" if rest else f"{head} {text}"

    def _joined(self, clauses: list[Clause]) -> str:
        """All that is said of an entity, as verbs."""
        return _listed(self._drawn(clauses))

    def _drawn(self, clauses: Iterable[Clause]) -> list[str]:
        return [self._rng.choice(clause.verbs) for clause in clauses]

    def _some(self, position: int) -> str:
        noun, determiner = self._nouns[position], self._rng.choice(_DETERMINERS)
        return indefinite(noun) if determiner == "a" else f"{determiner} {noun}"


def _middle(last: int) -> int:
    return max(1, last // 2)


def _tidy(text: str) -> str:
    """A name may end with a full stop of its own (Warner Bros.)."""
    return text.replace("..", ".")


def _that(kind: Kind) -> str:
    return "who" if kind.who else "that"


def _listed(clauses: list[str]) -> str:
    if len(clauses) < 3:
        return " and ".join(clauses)
    return f"{', '.join(clauses[:-1])} and {clauses[-1]}"
