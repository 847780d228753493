"""The task `order`: dated events, told out of order."""

from datetime import date, timedelta
from random import Random

from generators.long_context.answers import Value
from generators.long_context.sequential.story import Step, Story, interleaved, words
from generators.long_context.wording import vary

MOST = 16
"""Events of a story: the trace repeats their order at every step."""

_NTH = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
        "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth")  # fmt: skip


def order(rng: Random, steps: int) -> Story:
    """Events of one estate in order of time, or the nth of them; those of another estate don't count."""
    stock = words()
    variant = rng.choice(("list", "nth", "nth", "last"))
    estate, other = rng.sample(stock["estates"], 2)
    size = rng.randint(3, max(3, min(MOST, steps)))
    places = rng.sample(stock["places"], size)
    days = [date(1820, 1, 1) + timedelta(days=day) for day in rng.sample(range(180 * 365), size)]

    def tell(whose: str, place: str, day: date) -> str:
        deed = rng.choice(stock["deeds"]).format(place=place)
        written = f"{day.day} {day:%B} {day.year}"
        text = str(rng.choice(stock["dated"])).format(date=written, deed=deed, estate=whose)
        return text[0].upper() + text[1:]

    sorted_so_far: list[tuple[date, str]] = []
    relevant = []
    for place, day in zip(places, days, strict=True):
        sorted_so_far.append((day, place))
        sorted_so_far.sort()
        now = ", ".join(f"{one} {when.year}" for when, one in sorted_so_far)
        relevant.append(Step(tell(estate, place, day), f"order so far: {now}"))
    near = [
        Step(tell(other, rng.choice(stock["places"]), date(1820, 1, 1) + timedelta(days=rng.randrange(180 * 365))))
        for _ in places
    ]
    ordered = [place for _, place in sorted_so_far]
    nth = rng.randrange(size)
    answer: Value = {"list": ordered, "nth": ordered[nth], "last": ordered[-1]}[variant]
    return Story(
        interleaved(relevant, near, rng),
        vary(rng.choice(stock["order_questions"][variant]), rng).format(estate=estate, nth=_NTH[nth]), answer,
        start=f"I sort the events of {estate} by their dates as they come.",
        end=f"In order of time: {', '.join(ordered)}.", facts={"variant": variant, "estate": estate, "nth": nth + 1},
    )  # fmt: skip
