"""Tasks that compute as they go: balances of accounts (`ledger`), and registers set from one another (`chain`)."""

from collections.abc import Callable
from random import Random

from generators.long_context.sequential.story import Step, Story, words
from generators.long_context.wording import vary

REGISTERS = 6
LARGEST = 5000
"""A register above this is not doubled or summed, so that numbers stay readable."""


def ledger(rng: Random, steps: int) -> Story:
    """Payments in and out of an account, and transfers with another one; that one has payments of its own."""
    stock = words()
    fund, second = rng.sample(stock["funds"], 2)
    balances = {fund: 0, second: 0}
    history: list[int] = []
    told: list[tuple[str, int | None]] = []  # text, change of the account

    def tell(kind: str, change: dict[str, int], **slots: object) -> None:
        text = str(rng.choice(stock["entries"][kind])).format(person=rng.choice(stock["people"]), **slots)
        for name, amount in change.items():
            balances[name] += amount
        if fund in change:
            history.append(balances[fund])
        told.append((text, change.get(fund)))

    for name in (fund, second):
        amount = rng.randint(200, 900)
        tell("open", {name: amount}, fund=name, amount=amount)
    wanted = max(3, rng.randint(steps // 2, steps))
    while len(history) < wanted:
        name, other = rng.sample((fund, second), 2)
        kind = rng.choice(("in", "in", "out", "out", "move"))
        most = 300 if kind == "in" else min(300, balances[name])
        if most < 2:
            kind, most = "in", 300
        amount = rng.randint(1, most)
        change = {"in": {name: amount}, "out": {name: -amount}, "move": {name: -amount, other: amount}}[kind]
        tell(kind, change, fund=name, second=other, amount=amount)
    extremes = {"lowest": min, "highest": max}
    variant = rng.choice(("final", "final", *(name for name, of in extremes.items() if of(history) != history[0])))
    answer = extremes[variant](history) if variant in extremes else history[-1]
    return Story(
        _booked(told, extremes.get(variant), variant),
        vary(rng.choice(stock["ledger_questions"][variant]), rng).format(fund=fund),
        answer,
        start=f"I book what concerns the {fund} account, line by line.",
        end=f"The {fund} account ends at {history[-1]} crowns; lowest {min(history)}, highest {max(history)}.",
        facts={"variant": variant, "fund": fund},
    )


def _booked(told: list[tuple[str, int | None]], extreme: Callable[[list[int]], int] | None, variant: str) -> list[Step]:
    """The notes with the balance after each that changes it, and the extreme so far."""
    history: list[int] = []
    steps = []
    for text, change in told:
        note = ""
        if change is not None:
            history.append((history[-1] if history else 0) + change)
            so_far = f", {variant} so far {extreme(history)}" if extreme else ""
            note = f"{change:+d}, balance {history[-1]}{so_far}"
        steps.append(Step(text, note))
    return steps


def chain(rng: Random, steps: int) -> Story:
    """A list of instructions on registers; those that the asked one doesn't depend on don't matter."""
    stock = words()
    names = rng.sample(stock["funds"], REGISTERS)
    values: dict[str, int] = {}
    program: list[tuple[str, str, set[str], int]] = []  # text, register, what it depends on, value after it
    length = max(6, rng.randint(steps, 2 * steps))
    while len(program) < length:
        name = rng.choice(names)
        others = [other for other in values if other != name]
        source, second = (rng.choice(others), rng.choice(others)) if others else ("", "")
        amount = rng.randint(2, 99)
        kinds = {"set": amount}
        if others:
            kinds["copy"] = values[source]
        if name in values:
            kinds |= {"add": values[name] + amount, "subtract": values[name] - amount}
            if abs(values[name]) < LARGEST:
                kinds["double"] = 2 * values[name]
        if source != second and abs(values[source]) + abs(values[second]) < LARGEST:
            kinds["sum"] = values[source] + values[second]
        kind = rng.choice([one for one in kinds if one != "set"] or ["set"]) if rng.random() < 0.85 else "set"
        needs = {"set": set(), "copy": {source}, "sum": {source, second}}.get(kind, {name})
        values[name] = kinds[kind]
        text = str(rng.choice(stock["assigned"][kind])).format(name=name, source=source, second=second, amount=amount)
        program.append((text, name, needs, values[name]))
    slices = {name: _slice(program, name) for name in values}
    asked = max(values, key=lambda name: (len(slices[name]), name))
    told = [
        Step(text, f"{name} = {value}" if place in slices[asked] else "")
        for place, (text, name, _, value) in enumerate(program)
    ]
    return Story(
        told, vary(rng.choice(stock["chain_questions"]), rng).format(name=asked), values[asked],
        start=f"Only instructions on which {asked} depends matter; I carry those out in order.",
        end=f"{asked} holds {values[asked]} at the end.", facts={"register": asked},
    )  # fmt: skip


def _slice(program: list[tuple[str, str, set[str], int]], asked: str) -> set[int]:
    """The places of the instructions that the last value of a register depends on, found from the end."""
    wanted, found = {asked}, set()
    for place in reversed(range(len(program))):
        _, name, needs, _ = program[place]
        if name in wanted:
            found.add(place)
            wanted = (wanted - {name}) | needs
    return found
