"""The people that the contexts of a run draw from: made or read once, and gone through in another order each time."""

from collections.abc import Iterator
from itertools import islice
from random import Random

from gristmill.errors import ConfigError
from gristmill.personas import Persona, personas

TOKENS_PER_PERSON = 40
"""The fewest that a record takes."""

LEAST = 2000


class Crowd:
    """As many people as the longest context could hold."""

    def __init__(self, location: str | None, seed: int, tokens: int) -> None:
        wanted = max(LEAST, tokens // TOKENS_PER_PERSON)
        self._people = [person for person in islice(personas(location, seed), 2 * wanted) if person.name][:wanted]
        if not self._people:
            raise ConfigError(f"params.people: {location} has nobody with a name.")

    def stream(self, rng: Random) -> Iterator[Persona]:
        return (self._people[place] for place in rng.sample(range(len(self._people)), len(self._people)))
