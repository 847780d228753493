"""Answers as a teacher might write them, in many notations, and the same with one wrong figure planted.

right(solution, rng)    "Revenue (fiscal 2024): $1.13bn. ... Gross margin ≈ 47.1 percent."
wrong(solution, rng)    "Revenue (fiscal 2024): $1.31bn. ..."
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from random import Random

from generators.financial_qa.formulas import decimal_of
from generators.financial_qa.telling import scale_of
from generators.financial_qa.work import Expected, Solution, Used

FAULTS = ("digit", "swapped digits", "scale", "tenth more", "one per cent", "sign", "another period")


@dataclass(frozen=True)
class Said:
    """One figure of an answer: how a value is written, in a notation that can write others too."""

    value: Fraction
    write: Callable[[Fraction], str]
    used: Used | None = None

    @property
    def text(self) -> str:
        return self.write(self.value)


def grouped(value: Fraction, places: int) -> str:
    return f"{decimal_of(value, places):,f}"


def minus(value: Fraction, text: str) -> str:
    return f"-{text}" if value < 0 else text


def amount(value: Fraction, scale: int, rng: Random) -> Callable[[Fraction], str]:
    """A notation for an amount that keeps at least three digits of it."""
    large = abs(value) >= 10**9
    notations: list[Callable[[Fraction], str]] = [
        lambda v: minus(v, f"${grouped(abs(v) / 10**6, 1)} million"),
        lambda v: minus(v, f"${grouped(abs(v) / 10**6, 1)}M"),
        lambda v: minus(v, f"USD {grouped(abs(v) / 10**6, 1)} million"),
        lambda v: minus(v, f"${grouped(abs(v) / 10**3, 0)} thousand"),
        lambda v: minus(v, f"\\${grouped(abs(v) / 10**6, 1)}\\text{{ million}}"),
        lambda v: f"(${grouped(abs(v) / 10**6, 1)}) million" if v < 0 else f"${grouped(v / 10**6, 1)} million",
        lambda v: minus(v, f"${grouped(abs(v), 0)}"),
        lambda v: minus(v, f"**${grouped(abs(v) / 10**6, 1)} million**"),
    ]
    if large:
        notations += [lambda v: minus(v, f"${grouped(abs(v) / 10**9, 2)} billion"),
                      lambda v: minus(v, f"${grouped(abs(v) / 10**9, 3)}bn")]  # fmt: skip
    # as in the filing's own tables, without a word for the scale
    notations.append(lambda v: minus(v, f"${grouped(abs(v) / 10**scale, 0)}"))
    return rng.choice(notations)


PATTERNS: dict[str, list[tuple[str, int, int]]] = {
    "percent": [("{}%", 100, 1), ("{} percent", 100, 2), ("{} per cent", 100, 1), ("{}\\%", 100, 1), ("{}", 1, 4)],
    "points": [("{} percentage points", 100, 1), ("{} pp", 100, 2), ("{} basis points", 10_000, 0)],
    "days": [("{} days", 1, 1), ("{} days", 1, 2)],
    "plain": [("{}", 1, 2), ("{}", 1, 3)],
    "times": [("{}x", 1, 2), ("{} times", 1, 2), ("{}:1", 1, 2), ("{}", 1, 3), ("{}×", 1, 2)],
}
"""Notations of a unit: how it is written, what it is multiplied by, and decimals."""


def ratio(unit: str, rng: Random) -> Callable[[Fraction], str]:
    if unit in ("per_share", "dollars"):
        return lambda v: minus(v, f"${grouped(abs(v), 2)}")
    pattern, factor, places = rng.choice(PATTERNS[unit])
    return lambda v: pattern.format(grouped(factor * v, places))


def said_fact(used: Used, rng: Random) -> Said:
    value = Fraction(used.fact.value)
    if used.fact.unit == "shares":
        return Said(value, lambda v: f"{grouped(v / 10**6, 2)} million shares", used)
    if "/" in used.fact.unit:
        return Said(value, lambda v: minus(v, f"${grouped(abs(v), 2)}"), used)
    return Said(value, amount(value, scale_of([used.fact]), rng), used)


def said_result(one: Expected, scale: int, rng: Random) -> Said:
    return Said(one.value, amount(one.value, scale, rng) if one.unit == "money" else ratio(one.unit, rng))


def figures(solution: Solution, rng: Random) -> list[Said]:
    scale = scale_of(used.fact for used in solution.used if len(used.fact.unit) == 3)
    facts = [said_fact(used, rng) for used in solution.used]
    return [*facts, *(said_result(one, scale, rng) for one in solution.expected)]


def told(solution: Solution, said: list[Said], rng: Random) -> str:
    """Prose, bullets or a table, then the results."""
    facts, results = said[: len(solution.used)], said[len(solution.used) :]
    style = rng.randrange(4)
    lines: list[str] = []
    for used, one in zip(solution.used, facts, strict=True):
        name = rng.choice(used.names)
        whose = f"{used.company}: " if len({other.company for other in solution.used}) > 1 else ""
        lines.append(
            [
                f"- {whose}{name} for {used.period}: {one.text}",
                f"{whose}{name.capitalize()} was {one.text} in {used.period}.",
                f"| {whose}{name} | {used.period} | {one.text} |",
                f"The filing of {used.company} shows {name} of {one.text} ({used.period}).",
            ][style]
        )
    for expected, one in zip(solution.expected, results, strict=True):
        lines.append(
            rng.choice(
                [
                    f"Therefore, {expected.name} = {one.text}.",
                    f"The {expected.name} comes to {one.text}.",
                    f"Answer: {expected.name} of {one.text}",
                    f"So {expected.name} is **{one.text}**.",
                ]
            )
        )
    return "\n".join(lines)


def right(solution: Solution, rng: Random) -> str:
    return told(solution, figures(solution, rng), rng)


def wrong(solution: Solution, rng: Random) -> tuple[str, str]:
    """The answer, and what was planted."""
    said = figures(solution, rng)
    while True:
        place, fault = rng.randrange(len(said)), rng.choice(FAULTS)
        one = said[place]
        text = planted(one, solution, fault, rng)
        if text is not None and text != one.text:
            break
    described = f"{fault}: {text} for {one.text}"
    said[place] = Said(one.value, lambda _: text)
    return told(solution, said, rng), described


def planted(one: Said, solution: Solution, fault: str, rng: Random) -> str | None:
    """The figure with a fault; None where it can't have this one. It differs by one per cent or more."""
    if not one.value:
        return None
    match fault:
        case "digit":
            value = one.value * rng.choice([Fraction(6, 5), Fraction(9, 10), Fraction(21, 20), Fraction(2, 3)])
        case "one per cent":
            value = one.value * Fraction(101, 100)
        case "sign":
            return one.write(-one.value) if one.used is None and one.value > 0 else None
        case "tenth more":
            value = one.value * Fraction(11, 10)
        case "scale":
            pairs = [
                ("million", "billion"),
                ("thousand", "million"),
                ("billion", "million"),
                ("M", "B"),
                ("bn", " million"),
            ]
            return next((one.text.replace(a, b) for a, b in pairs if a in one.text and one.used), None)
        case "swapped digits":
            text = one.text
            at = [
                n
                for n in range(len(text) - 1)
                if text[n : n + 2].isdigit() and abs(int(text[n]) - int(text[n + 1])) > 1
            ]
            if not at or text[at[0]] == "0":
                return None
            n = at[0]
            swapped = text[:n] + text[n + 1] + text[n] + text[n + 2 :]
            lead = next(k for k, letter in enumerate(text) if letter.isdigit() and letter != "0")
            return swapped if n <= lead + 1 else None
        case _:
            others = [used for used in solution.used if one.used and used.names == one.used.names
                      and used.company == one.used.company and used.period != one.used.period]  # fmt: skip
            if not others:
                return None
            value = Fraction(rng.choice(others).fact.value)
    return one.write(value) if abs(value - one.value) >= abs(one.value) * Fraction(1, 100) else None
