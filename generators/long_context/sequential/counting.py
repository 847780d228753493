"""Tasks that count: snippets on a topic (`count`), and values of several keys with how often each is told (`keys`)."""

from collections import Counter
from random import Random

from generators.long_context.sequential.story import Step, Story, interleaved, listed, words
from generators.long_context.wording import vary


def count(rng: Random, steps: int) -> Story:
    """How many notes report a topic, all of them or those in which a certain person appears."""
    stock = words()
    topic, other_topic = rng.sample(stock["topics"], 2)
    variant = rng.choice(("all", "person"))
    people = rng.sample(stock["people"], 4)
    asked = people[0]

    def told(frames: list[str]) -> tuple[str, str]:
        person = asked if variant == "person" and rng.random() < 0.6 else rng.choice(people)
        return person, rng.choice(frames).format(person=person, place=rng.choice(stock["places"]))

    running, hits = 0, []
    for _ in range(rng.randint(2, steps)):
        person, text = told(topic["hits"])
        matters = variant == "all" or person == asked
        running += matters
        hits.append(Step(text, f"report number {running}" if matters else ""))
    misses = [Step(told(rng.choice((topic["misses"], other_topic["hits"])))[1]) for _ in hits]
    question = vary(rng.choice(stock["count_questions"][variant]), rng).format(topic=topic["name"], person=asked)
    whom = f" with {asked}" if variant == "person" else ""
    return Story(
        interleaved(hits, misses, rng), question, running,
        start=f"I count the reports of {topic['name']}{whom}, from 0.", end=f"The count ends at {running}.",
        facts={"variant": variant, "topic": topic["name"], "person": asked if variant == "person" else ""},
    )  # fmt: skip


def keys(rng: Random, steps: int) -> Story:
    """Passphrases of several places: which, and how many notes tell it."""
    stock = words()
    variant = rng.choice(("value", "value", "most"))
    places = rng.sample(stock["places"], rng.randint(2, 4) if variant == "value" else rng.randint(4, 6))
    others = rng.sample([place for place in stock["places"] if place not in places], len(places))
    phrase = {place: f"{rng.choice(stock['signs'])}-{rng.randint(10, 99)}" for place in [*places, *others]}
    most = max(2, steps // len(places))
    times = {place: rng.randint(1, most) for place in places}
    winner = rng.choice(places)
    if variant == "most":  # one alone is told most often
        times = {place: min(times[place], most - 1) for place in places} | {winner: most}

    def told(place: str) -> str:
        return str(rng.choice(stock["told"])).format(
            place=place, value=phrase[place], person=rng.choice(stock["people"])
        )

    order = [place for place in places for _ in range(times[place])]
    rng.shuffle(order)
    seen: Counter[str] = Counter()
    relevant = []
    for place in order:
        seen[place] += 1
        what = f"{place} = {phrase[place]}" if seen[place] == 1 else f"{place} again"
        relevant.append(Step(told(place), f"{what}, told {_times(seen[place])}"))
    near = [Step(told(rng.choice(others))) for _ in order]
    question = vary(rng.choice(stock["keys_questions"][variant]), rng).format(places=listed(places))
    if variant == "value":
        question += f" {vary(rng.choice(stock['keys_form']), rng)}"
    answer = winner if variant == "most" else {place: f"{phrase[place]} ({times[place]})" for place in places}
    return Story(
        interleaved(relevant, near, rng), question, answer,
        start=f"I look for the passphrases of the {listed(places)} and count how often each is told.",
        end="In all: " + "; ".join(f"{place} {phrase[place]}, {times[place]}" for place in places) + ".",
        facts={"variant": variant, "places": [*places]},
    )  # fmt: skip


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")
