"""Composes an exercise: a signature, what it asks in plain words, and a reference solution.

    def total_of_squared_odd_scores(scores: list[int]) -> int:
        # `scores` lists the points of every team in a pub quiz. Compute the sum of the squares of the scores that are
        # odd. If there are none, the result is 0.
        total = 0
        for score in scores:
            if score % 2 == 1:
                total += score ** 2
        return total

The words and the code are made from one plan, so the code is right about the words; what is drawn is which of several
forms each takes.
"""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from string import Template

from generators.code_concepts.exercises.grammar import Change, Domain, Fold, Knob, Source, Test, grammar
from generators.code_concepts.exercises.words import Filled, text_of, title_of

TEST_SHARE = 0.75
"""How often elements are put to a test where the fold doesn't need one and a change is there."""

_PARAMETERS: Mapping[Knob, tuple[str, ...]] = {
    "value": ("limit", "threshold", "bound"), "divisor": ("divisor", "factor"), "small": ("step", "shift"),
    "letter": ("letter",), "length": ("size",), "gap": ("tolerance",), "digit": ("ending",),
}  # fmt: skip
_KEPT = ("chosen", "matching", "relevant", "selected")
_COLLECTED = {"neighbours": "pairs", "twins": "pairs", "letters": "symbols", "sentence": "words", "digits": "digits",
              "upto": "numbers", "span": "numbers"}  # fmt: skip
_TYPES = {"number": "int", "word": "str", "char": "str"}


@dataclass(frozen=True)
class Parameter:
    """A parameter of the function besides the elements, such as a limit, and the value that inputs are made around."""

    name: str
    value: int | str

    @property
    def type(self) -> str:
        return type(self.value).__name__


@dataclass(frozen=True)
class Exercise:
    """`constants` are the numbers and letters that the operations use: inputs are made around them. `rivals` are bodies
    in which one part of the exercise does nothing: no test that tells them apart, no exercise.
    """

    name: str
    title: str
    signature: str
    text: str
    body: str
    source: Source
    domain: Domain
    parameter: Parameter | None
    constants: tuple[int | str, ...]
    operations: tuple[str, ...]
    form: int
    rivals: tuple[str, ...]


def compose(source: Source, fold: Fold, domain: Domain, rng: Random) -> Exercise:
    """An exercise of this source, fold and domain; everything else is drawn."""
    test, change = _operations(source, fold, domain, rng)
    parameter, filled = _constants(test, change, domain, rng)
    names = _names(source, domain, rng)
    form, skips = rng.randrange(len(fold.code)), rng.random() < 0.4
    spelling = rng.choice(change.code) if change else ""

    def body(lines: str, test: Test | None, spelling: str) -> str:
        code = _code(source, test, spelling, filled, names)
        return _body(lines, names | code, bool(test), skips)

    value_kind = change.gives if change else source.kind
    gives = Template(fold.gives).substitute(type=_TYPES.get(value_kind, "int"))
    name = _function_name(source, fold, test, change, domain)
    return Exercise(
        name=name,
        title=title_of(source, fold, test, change, domain),
        signature=f"def {name}({_arguments(source, domain, parameter)}) -> {gives}:",
        text=text_of(source, fold, test, change, filled, names, domain, rng),
        body=body(fold.code[form], test, spelling),
        source=source,
        domain=domain,
        parameter=parameter,
        constants=tuple(value for value, _, _ in filled.values()),
        operations=tuple(part.key for part in (test, change, fold) if part),
        form=form,
        rivals=(
            *([body(fold.code[form], None, spelling)] if test else []),
            *([body(fold.code[form], test, "")] if change and change.gives == change.of else []),
            *([body(fold.bare, test, spelling)] if fold.bare else []),
        ),
    )


# --- the plan --------------------------------------------------------------------------------------------------------


def _operations(source: Source, fold: Fold, domain: Domain, rng: Random) -> tuple[Test | None, Change | None]:
    """A test, a change, or both, that fit the signs of the domain's numbers."""
    unfit = "natural" if domain.low < 0 else "signed"
    changes = [change for change in grammar().changes_of(source, fold) if change.domain != unfit]
    tests = [test for test in grammar().tests_of(source) if test.domain != unfit]
    must_change = source.kind not in fold.of and "any" not in fold.of
    change = rng.choice(changes) if changes and (must_change or rng.random() < 0.6) else None
    tested = fold.needs == "test" or change is None or rng.random() < TEST_SHARE
    return (rng.choice(tests) if tested else None), change


def _constants(
    test: Test | None, change: Change | None, domain: Domain, rng: Random
) -> tuple[Parameter | None, Filled]:
    """Values for the operations' numbers and letters; one of them may be a parameter of the function."""
    parameter = None
    filled: Filled = {}
    for part, operation in (("test", test), ("change", change)):
        if operation is None or not operation.k:
            continue
        value = _constant(operation.k, domain, rng)
        if parameter is None and rng.random() < 0.4:
            parameter = Parameter(rng.choice(_PARAMETERS[operation.k]), value)
            filled[part] = (value, parameter.name, f"`{parameter.name}`")
        else:
            literal = f'"{value}"' if isinstance(value, str) else str(value)
            filled[part] = (value, literal, literal)
    return parameter, filled


def _constant(knob: Knob, domain: Domain, rng: Random) -> int | str:
    if knob == "letter":
        letters = sorted({char for word in domain.pool for char in word if char.isalpha() and char.islower()})
        return rng.choice(letters)
    if knob == "value":
        if not domain.high:  # digits, and numbers up to a small one
            return rng.randint(3, 7)
        span = domain.high - domain.low
        return rng.randint(max(3, domain.low + span // 4), domain.high - span // 4)
    low, high = {"divisor": (3, 7), "digit": (1, 9), "small": (2, 9), "length": (2, 4), "gap": (2, 6)}[knob]
    return rng.randint(low, high)


def _arguments(source: Source, domain: Domain, parameter: Parameter | None) -> str:
    types = {"numbers": "list[int]", "twins": "list[int]", "words": "list[str]", "texts": "str", "spans": "int",
             "tables": "dict[str, int]", "integers": "int"}  # fmt: skip
    arguments = [f"{name}: {types[source.domains]}" for name in (domain.many, domain.other) if name]
    return ", ".join([*arguments, *([f"{parameter.name}: {parameter.type}"] if parameter else [])])


def _function_name(source: Source, fold: Fold, test: Test | None, change: Change | None, domain: Domain) -> str:
    nouns = {"neighbours": f"{_identifier(domain.one)}_pairs", "twins": f"{domain.many}_{domain.other}_pairs",
             "letters": f"{domain.many}_characters", "sentence": f"{domain.many}_words",
             "digits": f"{domain.many}_digits", "upto": f"numbers_to_{domain.many}",
             "span": f"{domain.one}s", "entries": domain.keys}.get(source.key, _identifier(domain.nouns))  # fmt: skip
    tags = [part.tag for part in (change, test) if part]
    return "_".join([fold.name, *dict.fromkeys(tags), nouns])


def _identifier(words: str) -> str:
    return words.replace(" ", "_")


# --- the code --------------------------------------------------------------------------------------------------------


def _names(source: Source, domain: Domain, rng: Random) -> dict[str, str]:
    """Variables of the code and words of the text. A pair and an entry have two parts, `a` and `b`."""
    words = {name: str(value) for name, value in domain.model_dump().items() if isinstance(value, str)}
    code = {name: _identifier(value) for name, value in words.items()}
    target = Template(source.x).substitute(code)
    first, _, second = target.partition(", ")
    b = second or first
    return {
        "many": domain.many,
        "other": domain.other,
        "x": b if source.kind == "entry" else target,
        "target": target,
        "whole": f"({target})" if second else target,
        "a": first,
        "b": b,
        "xs": Template(source.xs).substitute(code),
        "kept": f"{rng.choice(_KEPT)}_{_COLLECTED.get(source.key, domain.many)}",
        "nouns": Template(rng.choice(source.nouns)).substitute(words),
        "number": domain.one,
        "numbers": domain.nouns,
    }


def _code(source: Source, test: Test | None, change: str, filled: Filled, names: Mapping[str, str]) -> dict[str, str]:
    """What the lines of a form are filled with; `change` is the spelling of the change, "" for none."""

    def spell(template: str, part: str) -> str:
        return Template(template).substitute(names, k=filled[part][1] if part in filled else "")

    value = spell(change, "change") if change else names["whole"]
    cond = spell(test.code, "test") if test else "True"
    each = f"{value} for {names['target']} in {names['xs']}" + (f" if {cond}" if test else "")
    result = "value" if change or source.kind == "pair" else names["x"]
    unless = spell(test.unless, "test") if test else "False"
    term = f"({value})" if isinstance(ast.parse(value, mode="eval").body, ast.BinOp) else value
    held = f"({cond})" if " or " in cond else cond
    return {"value": value, "term": term, "cond": cond, "held": held, "unless": unless, "each": each, "result": result}


def _body(form: str, code: Mapping[str, str], tested: bool, skips: bool) -> str:
    """The lines of a form; those with `@` go below the test, which either holds them or skips what fails it."""
    lines: list[str] = []
    entered = False
    for line in form.rstrip("\n").split("\n"):
        indent, mark, rest = line.partition("@")
        if not mark or indent.strip():
            lines.append(line)
            continue
        if tested and not entered:
            lines += [f"{indent}if $unless:", f"{indent}    continue"] if skips else [f"{indent}if $cond:"]
            entered = True
        lines.append(indent + ("    " if tested and not skips else "") + rest)
    # In a loop's head `$x` is the target: the same as an element, but for an entry, whose element is its value.
    heads = [re.sub(r"\bfor \$x\b", "for $target", line) for line in lines]
    body = Template("\n".join(heads)).substitute(code)
    kept = [line for line in body.split("\n") if not re.fullmatch(r"\s*(\w+) = \1", line)]
    return _without_idle_key("\n".join(f"    {line}" for line in kept))


def _without_idle_key(body: str) -> str:
    """A loop over the values alone, where it has no use for the keys."""
    for key, value, table in re.findall(r"for (\w+), (\w+) in (\w+)\.items\(\)", body):
        if len(re.findall(rf"\b{key}\b", body)) == 1:
            body = body.replace(f"for {key}, {value} in {table}.items()", f"for {value} in {table}.values()")
    return body
