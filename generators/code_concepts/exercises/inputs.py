"""Inputs for an exercise: around its numbers and letters, and at the edges, where wrong programs go astray.

[[], 8], [[8], 8], [[7, 8, 9], 8], [[31, 8, 8, 2], 8] ...       lists and their limit
"""

from random import Random
from typing import Any

from generators.code_concepts.exercises.compose import Exercise

CANDIDATES = 40

Arguments = list[Any]


def make_inputs(exercise: Exercise, rng: Random) -> list[Arguments]:
    """Different lists of arguments, the smallest ones first."""
    made: dict[str, Arguments] = {}
    for number in range(3 * CANDIDATES):
        arguments = _arguments(exercise, number, rng)
        made.setdefault(repr(arguments), arguments)
        if len(made) == CANDIDATES:
            break
    return list(made.values())


def _arguments(exercise: Exercise, number: int, rng: Random) -> Arguments:
    size = number // 2 if number < 6 else rng.randint(2, 7)
    match exercise.source.domains:
        case "numbers":
            first: Arguments = [[_number(exercise, rng) for _ in range(size)]]
        case "twins":
            lefts = [_number(exercise, rng) for _ in range(size)]
            first = [lefts, [left if rng.random() < 0.2 else _number(exercise, rng) for left in lefts]]
        case "words":
            first = [[_word(exercise, rng.choice(exercise.domain.pool), rng) for _ in range(size)]]
        case "texts":
            first = [_text(exercise, size, rng)]
        case "tables":
            keys = rng.sample(exercise.domain.pool, min(size, 5))
            first = [{key: _number(exercise, rng) for key in keys}]
        case "spans":
            low = _number(exercise, rng)
            first = [low, low + rng.choice((-1, 0, 1, 3, size, 8, 11, 17)) if number else low - 1]
        case _:
            first = [_integer(exercise, size, rng)]
    if exercise.parameter is None:
        return first
    value = exercise.parameter.value
    if isinstance(value, int) and rng.random() < 0.3:
        value = max(1, value + rng.choice((-1, 1, 2)))  # a divisor must not become zero
    return [*first, value]


def _number(exercise: Exercise, rng: Random) -> int:
    """Half of them lie at or beside a constant or a multiple of it, within the domain."""
    low, high = exercise.domain.low, exercise.domain.high
    constants = [constant for constant in exercise.constants if isinstance(constant, int)]
    if constants and rng.random() < 0.5:
        chosen = rng.choice(constants)
        near = rng.choice((chosen - 1, chosen, chosen + 1, 2 * chosen, chosen + 3, chosen - 4, chosen + 10))
        if low <= near <= high:
            return near
    return rng.randint(low, high)


def _word(exercise: Exercise, word: str, rng: Random) -> str:
    """The word, or a likeness with a constant letter at an end or twice, or of about a constant length."""
    letters = [constant for constant in exercise.constants if isinstance(constant, str)]
    lengths = [constant for constant in exercise.constants if isinstance(constant, int)]
    if letters and rng.random() < 0.5:
        letter = rng.choice(letters)
        return rng.choice((letter + word.lower(), word + letter, letter + word[1:-1] + letter, word[:2] + letter))
    if lengths and rng.random() < 0.5:
        return word[: rng.choice(lengths) + rng.choice((-1, 0, 1))]
    return word


def _text(exercise: Exercise, size: int, rng: Random) -> str:
    if size == 0:
        return ""
    if rng.random() < 0.4:
        return rng.choice(exercise.domain.pool)
    words = [word for text in exercise.domain.pool for word in text.split()]
    return " ".join(_word(exercise, rng.choice(words), rng) for _ in range(max(1, size - 2)))


def _integer(exercise: Exercise, size: int, rng: Random) -> int:
    if exercise.source.key == "upto":
        constants = [constant for constant in exercise.constants if isinstance(constant, int)]
        near = [constant + step for constant in constants for step in (-1, 0, 1)]
        return rng.choice([size, rng.randint(0, 20), rng.randint(10, 36), *near])
    digits = "".join(str(rng.choice([rng.randrange(10), *exercise.constants])) for _ in range(max(1, size)))
    return int(digits)
