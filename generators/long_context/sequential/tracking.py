"""Tasks that keep track: where a thing is (`state`), and which of contradicting statements holds (`update`)."""

from random import Random

from generators.long_context.answers import Value
from generators.long_context.sequential.story import Step, Story, interleaved, listed, words
from generators.long_context.wording import vary

OTHER_THINGS = 2


def state(rng: Random, steps: int) -> Story:
    """A thing is taken, handed on and put down; others move among the same people."""
    stock = words()
    variant = rng.choice(("where", "where", "hands", "before"))
    thing, *others = rng.sample(stock["things"], 1 + OTHER_THINGS)
    people = rng.sample(stock["people"], max(4, steps // 2))
    moves = max(3, rng.randint(steps // 2, steps))
    relevant, holders, spot = _moves(thing, moves, people, rng)
    near = [Step(step.text) for other in others for step in _moves(other, moves // OTHER_THINGS + 1, people, rng)[0]]
    hands = len(set(holders))
    answers: dict[str, Value] = {"where": spot, "hands": hands, "before": _last(holders, spot)}
    return Story(
        interleaved(relevant, near, rng),
        vary(rng.choice(stock["state_questions"][variant]), rng).format(thing=thing),
        answers[variant],
        start=f"I follow the {thing} and note who holds it or where it lies.",
        end=f"So the {thing} ends up {_at(spot, holders)}; {hands} people held it, "
        f"{_last(holders, spot)} last before that.",
        facts={"variant": variant, "thing": thing},
    )


def _moves(thing: str, moves: int, people: list[str], rng: Random) -> tuple[list[Step], list[str], str]:
    """Steps of a thing, everyone who held it in turn, and where it is at the end. It begins in a place, and at least
    two people hold it."""
    stock = words()
    spot, held = str(rng.choice(stock["places"])), False
    holders: list[str] = []
    steps: list[Step] = []

    def tell(kind: str, person: str, other: str = "", place: str = "") -> str:
        return str(rng.choice(stock["moves"][kind])).format(person=person, other=other, place=place, thing=thing)

    while len(steps) < moves or len(set(holders)) < 2:
        person = rng.choice([one for one in people if one != spot and one not in holders[-1:]])
        if not held:
            text = tell("take", person, place=spot)
            spot, held = person, True
        elif rng.random() < 0.7:
            text = tell("give", spot, other=person)
            spot = person
        else:
            place = str(rng.choice(stock["places"]))
            text = tell("put", spot, place=place)
            spot, held = place, False
        if held:
            holders.append(spot)
        people_so_far = len(set(holders))
        where = f"with {spot}" if held else f"in the {spot}"
        steps.append(Step(text, f"{where} ({people_so_far} {'person' if people_so_far == 1 else 'people'} so far)"))
    return steps, holders, spot


def _at(spot: str, holders: list[str]) -> str:
    return f"with {spot}" if spot == holders[-1] else f"in the {spot}"


def _last(holders: list[str], spot: str) -> str:
    return holders[-2] if spot == holders[-1] else holders[-1]


def update(rng: Random, steps: int) -> Story:
    """What is said of a club changes; the last word on each field counts."""
    stock = words()
    variant = rng.choice(("record", "record", "changes"))
    club, other = rng.sample(stock["clubs"], 2)
    fields = rng.sample(list(stock["fields"]), rng.randint(2, 4) if variant == "record" else 1)
    order = fields + [rng.choice(fields) for _ in range(rng.randint(1, max(1, steps - len(fields))))]
    current: dict[str, str | int] = {}
    changes = 0
    relevant = []
    for field in order:
        text, value = _statement(club, field, current.get(field), rng)
        changes += field in current
        change = f", no longer {current[field]}" if field in current else ""
        current[field] = value
        note = f"{stock['fields'][field]['asked']} {value}{change}"
        relevant.append(Step(text, note if variant == "record" else f"{note} (changes: {changes})"))
    near: list[Step] = []
    known: dict[str, str | int] = {}
    for _ in order:
        field = rng.choice(list(stock["fields"]))
        text, known[field] = _statement(other, field, known.get(field), rng)
        near.append(Step(text))
    asked = {field: stock["fields"][field]["asked"] for field in fields}
    question = vary(rng.choice(stock["update_questions"][variant]), rng).format(
        club=club, fields=listed(list(asked.values())), field=asked[fields[0]]
    )
    final = {asked[field]: current[field] for field in fields}
    return Story(
        interleaved(relevant, near, rng), question, final if variant == "record" else changes,
        start=f"I keep the last word on each field of the {club}: {listed(list(asked.values()))}.",
        end="At the end: " + "; ".join(f"{name} {value}" for name,
        value in final.items()) + f"; {changes} changes in all.",
        facts={"variant": variant, "club": club, "fields": list(asked.values())},
    )  # fmt: skip


def _statement(club: str, field: str, before: str | int | None, rng: Random) -> tuple[str, str | int]:
    """A sentence that gives a field another value than before, and the value."""
    stock = words()
    options: dict[str, list[str | int]] = {
        "contact": stock["people"], "day": stock["days"], "room": stock["places"], "fee": [*range(20, 200, 5)],
        "members": [*range(11, 180)],
    }  # fmt: skip
    value = rng.choice([option for option in options[field] if option != before])
    frames = stock["fields"][field]["first" if before is None else "again"]
    return str(rng.choice(frames)).format(club=club, value=value), value
