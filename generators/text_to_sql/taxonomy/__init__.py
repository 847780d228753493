"""The space of the teacher's tasks, as the files beside this one lay it out.

    taxonomy().industries["hospital care"]["ward occupancy"]     "ward, bed, admission, transfer"
    taxonomy().tasks["reporting"].concepts[0]                    "a monthly summary"

A topic belongs to its industry and leads to a schema of its own: after it stand the things that its tables are about.
The SQL concepts are those of `judges.sql_concepts`, the axes of style those of the verbaliser.
"""

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from gristmill.config import read_yaml, validate
from judges.sql_concepts import CONCEPTS, TIERS, Tier
from schemas import Config

FOLDER = Path(__file__).parent
Share = Annotated[float, Field(ge=0, le=1)]


class Task(Config):
    """A kind of task, asked of tiers from `lowest` on. One that `writes` shows one of the concepts in `sql`."""

    lowest: Tier
    concepts: Annotated[list[str], Field(min_length=1)]
    writes: bool = False
    sql: list[str] = []

    @model_validator(mode="after")
    def _known(self) -> Self:
        if unknown := [name for name in self.sql if name not in CONCEPTS]:
            raise ValueError(f"no such SQL concepts: {', '.join(unknown)}")
        return self

    def asked_of(self, tier: Tier) -> bool:
        return TIERS.index(self.lowest) <= TIERS.index(tier)


class Sign(Config):
    """How code sees a flaw in the values of a text column (or, with `repeated`, in the rows of a table).

    Each of `patterns` matches values whole, `least` of them together, in so many different `spellings`. `alike` values
    are equal but for their case or for spaces at their ends.
    """

    patterns: list[str] = []
    least: int = 1
    spellings: int = 1
    alike: Literal["", "case", "spaces"] = ""
    repeated: bool = False
    empty_beside_null: bool = False

    @field_validator("patterns")
    @classmethod
    def _compiles(cls, patterns: list[str]) -> list[str]:
        for pattern in patterns:
            re.compile(pattern)
        return patterns


class Flaw(Config):
    phrase: str
    sign: Sign


class DataQuality(Config):
    share: Share
    kinds: dict[str, dict[str, Flaw]]


class Knowledge(Config):
    share: Share
    kinds: dict[str, dict[str, str]]


class Taxonomy(Config):
    """Industries hold their topics, and a topic the things that its tables are about."""

    industries: dict[str, dict[str, str]]
    tasks: dict[str, Task]
    data_quality: DataQuality
    knowledge: Knowledge

    def flaw(self, challenge: str, name: str) -> Flaw | None:
        return self.data_quality.kinds.get(challenge, {}).get(name)

    def fact(self, dependency: str, name: str) -> str:
        """What the writer is told; the name itself where it is the user's own."""
        return self.knowledge.kinds.get(dependency, {}).get(name, name)


@cache
def taxonomy() -> Taxonomy:
    """As shipped."""
    content = {name: read_yaml(FOLDER / f"{name}.yaml", []) for name in ("industries", "tasks")}
    return validate({**content, **read_yaml(FOLDER / "challenges.yaml", [])}, Taxonomy, str(FOLDER))
