"""The words of an exercise: what it asks, its edge cases, and a heading.

`scores` lists the points of every team in a pub quiz. Compute the sum of the squares of the scores that are odd. If
there are none, the result is 0.
"""

import re
from collections.abc import Mapping
from random import Random
from string import Template

from generators.code_concepts.exercises.grammar import Change, Domain, Fold, Source, Test

LONGEST_TITLE = 8
"""Words of a heading, at most."""

SCENE_SHARE = 0.4
"""How often a text says what its parameter is about, where nothing depends on it."""

Filled = dict[str, tuple[int | str, str, str]]
"""{"test" or "change": (value, how the code spells it, how the text does)}."""

_NONE_LEFT = (
    "If there are none, the result is $r.", "Without any such $n, return $r.", "Should there be none, return $r.",
    "Return $r if nothing qualifies.", "Give $r if there are none of them.", "If no $n qualify, the answer is $r.",
    "The result is $r when there are no such $n.", "The default, for lack of such $n, is $r.",
    "Fall back on $r where no $n fit.", "With no such $n, the outcome is $r.", "Where no $n qualify, return $r.",
    "If none of the $n qualify, the function returns $r.", "An input without such $n gives $r.",
    "Use $r where there isn't any.", "Return $r in the absence of such $n.", "None of them? Then it is $r.",
    "When there are no such $n, the answer is $r.", "No such $n at all means $r.", "If nothing is found, give $r.",
    "In case there are none, answer $r.",
)  # fmt: skip
_NONE_GIVEN = (
    "For $n the result is $r.", "With $n, return $r.", "Given $n, it is $r.", "In the case of $n, give $r.",
    "For $n, return $r.", "Given $n, the function returns $r.", "With $n, the answer is $r.", "Return $r for $n.",
)  # fmt: skip


def text_of(
    source: Source,
    fold: Fold,
    test: Test | None,
    change: Change | None,
    filled: Filled,
    names: Mapping[str, str],
    domain: Domain,
    rng: Random,
) -> str:
    """A scene, the request and its edge cases, in one of two orders."""

    def say(template: str, part: str, **more: str) -> str:
        return Template(template).substitute(names, k=filled[part][2] if part in filled else "", **more)

    elements, predicate = names["nouns"], ""
    if test and source.kind == "entry":
        predicate = f"{domain.one} is {say(rng.choice(test.be), 'test')}"
        elements = f"{elements} {rng.choice(('whose', 'of which the'))} {predicate}"
    elif test:
        predicate = say(rng.choice([*(f"are {be}" for be in test.be), *test.verb]), "test")
        plain = f"{elements} {rng.choice(('that', 'which'))} {predicate}"
        elements = rng.choice([plain, *(say(name, "test", n=elements) for name in test.names)])
    values = say(rng.choice(change.says), "change", e=elements) if change else elements
    if source.kind == "entry":
        predicate = "are such that the " + predicate
    asked = Template(rng.choice(fold.says)).substitute(names, v=values, pred=predicate)
    request = f"{rng.choice(_verbs(asked, fold))} {asked}."
    scene = [rng.choice(domain.scenes)] if source.key == "digits" or rng.random() < SCENE_SHARE else []
    if source.notes:
        scene.append(Template(rng.choice(source.notes)).substitute(many=domain.many, other=domain.other))
    edges = _edges(source, fold, bool(test), names, rng)
    text = " ".join([*scene, request, *edges] if rng.random() < 0.6 else [request, *scene, *edges])
    return re.sub(r",([,.;:])", r"\1", text)


def _verbs(asked: str, fold: Fold) -> tuple[str, ...]:
    if asked.startswith("whether"):
        return "Return", "Tell", "Decide", "Check"
    if asked.startswith(("how ", "what ", "into ", "at ")):
        return "Return", "Find out", "Work out", "Determine"
    if asked.startswith("every "):
        return "Return", "Find", "Give back"
    if fold.gives.startswith(("list", "dict")):
        return "Return", "Build", "Produce", "Give back"
    return "Return", "Compute", "Find", "Work out", "Determine", "Calculate"


def _edges(source: Source, fold: Fold, tested: bool, names: Mapping[str, str], rng: Random) -> list[str]:
    """What comes out where nothing goes in."""
    if fold.few:
        return [rng.choice(fold.few)]
    if tested and not fold.universal:
        forms: tuple[str, ...] = _NONE_LEFT
        n = re.split(" from | of `| in `| in the | that | between | not | made |, | 1", names["nouns"])[0]
    elif source.empty:
        forms = _NONE_GIVEN
        n = Template(source.empty).substitute(names, nouns=names["numbers"])
    else:
        return []
    return [Template(rng.choice(forms)).substitute(n=n, r=fold.nothing or "None")]


def title_of(source: Source, fold: Fold, test: Test | None, change: Change | None, domain: Domain) -> str:
    """A heading such as "Sum of squared odd scores"; where it gets long, one that leaves out the change or the test."""
    nouns = {"neighbours": f"neighbouring {domain.nouns}", "twins": f"{domain.many}/{domain.other} pairs",
             "letters": f"{domain.many} characters", "sentence": f"{domain.many} words",
             "digits": f"{domain.many} digits", "upto": f"numbers up to {domain.many}", "span": f"{domain.one}s",
             "entries": domain.keys}.get(source.key, domain.nouns)  # fmt: skip
    found = []
    for tested, changed in ((test, change), (test, None), (None, change), (None, None)):
        elements = f"{tested.tag} {nouns}" if tested else nouns
        if changed:
            elements = Template(changed.title or f"{changed.tag} $e").substitute(e=elements)
        words = Template(fold.title).substitute(e=elements).replace("_", " ")
        found.append(words[:1].upper() + words[1:])
    return next((title for title in found if len(title.split()) <= LONGEST_TITLE), found[-1])
