"""The grammar of exercises as data: what grammar.yaml and domains.yaml say, read once and checked.

A source gives elements of a kind (number, word, char, pair, entry); a test keeps some of them, a change makes another
value of each, a fold makes the result. An operation fits where the kinds do.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field

from schemas import Config

Kind = Literal["number", "word", "char", "pair", "entry"]
Knob = Literal["", "value", "divisor", "digit", "small", "letter", "length", "gap"]
Sign = Literal["any", "natural", "signed"]
"""Where an operation is used: `natural` ones leave negative numbers open, `signed` ones say nothing of others."""
Category = Literal["lists", "strings", "numbers", "dictionaries"]

FOLDER = Path(__file__).parent


class Test(Config):
    """`code` and `unless` are opposites; `be` follows "are", `verb` stands by itself, `names` name the elements too;
    `only` and `never` are keys of sources.
    """

    key: str
    of: Kind
    domain: Sign = "any"
    only: list[str] = []
    never: list[str] = []
    k: Knob = ""
    code: str
    unless: str
    be: list[str] = []
    verb: list[str] = []
    names: Annotated[list[str], Field(alias="as")]
    tag: str


class Change(Config):
    """`title` says it in a heading where `tag` is no adjective."""

    key: str
    of: Kind
    gives: Kind
    domain: Sign = "any"
    k: Knob = ""
    code: list[str]
    says: list[str]
    tag: str
    title: str = ""


class Fold(Config):
    """`plain` folds take elements unchanged, `sequence` ones need them to have places; `nothing` is the result for
    no elements, `few` a further edge case, `bare` the code of a program that the fold must differ from.
    """

    key: str
    of: list[Kind | Literal["any"]]
    needs: Literal["", "test"] = ""
    plain: bool = False
    sequence: bool = False
    universal: bool = False
    gives: str
    name: str
    title: str
    says: list[str]
    nothing: str | None
    few: list[str] = []
    bare: str = ""
    code: list[str]


class Source(Config):
    """Where elements come from; `domains` names a list of domains.yaml, from which names and texts are filled in."""

    key: str
    category: Category
    domains: str
    kind: Kind
    x: str
    xs: str
    nouns: list[str]
    empty: str
    sequence: bool = True
    notes: list[str] = []


class Domain(Config):
    """What elements are called and which they are; which fields there are depends on the list."""

    many: str
    scenes: Annotated[list[str], Field(min_length=2)]
    one: str = ""
    nouns: str = ""
    second: str = ""
    other: str = ""
    key: str = ""
    keys: str = ""
    low: int = 0
    high: int = 0
    pool: list[str] = []


class Grammar(Config):
    sources: list[Source]
    tests: list[Test]
    changes: list[Change]
    folds: list[Fold]

    def tests_of(self, source: Source) -> list[Test]:
        """Tests that elements of this source can be put to: an entry is tested by its value."""
        if source.kind == "entry":
            return [test for test in self.tests if test.of == "number" and test.be and not test.only]
        fit = [test for test in self.tests if test.of == source.kind and source.key not in test.never]
        return [test for test in fit if source.key in (test.only or [source.key])]

    def changes_of(self, source: Source, fold: Fold) -> list[Change]:
        if fold.plain:
            return []
        return [change for change in self.changes if change.of == source.kind and change.gives in fold.of]

    def fits(self, source: Source, fold: Fold) -> bool:
        """Elements of the source, or what a change makes of them, can be folded so."""
        if fold.sequence and not source.sequence:
            return False
        if "any" in fold.of:
            return source.kind != "entry" or not fold.sequence
        return source.kind in fold.of or bool(self.changes_of(source, fold))


@cache
def grammar() -> Grammar:
    return Grammar.model_validate(_read("grammar.yaml"))


@cache
def domains() -> dict[str, dict[str, Domain]]:
    """{list: {name of the parameter: domain}}."""
    lists = _read("domains.yaml")
    return {name: {row["many"]: Domain.model_validate(row) for row in rows} for name, rows in lists.items()}


def pairs_of(category: Category) -> Iterator[tuple[Source, Fold]]:
    """All that can be folded in a category."""
    for source in grammar().sources:
        if source.category == category:
            yield from ((source, fold) for fold in grammar().folds if grammar().fits(source, fold))


def _read(name: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    return read
