"""The bases of everything that is validated: data that travels, configs that people write, answers that models give."""

from hashlib import sha256
from typing import Any, Self

import orjson
from pydantic import BaseModel, ConfigDict, JsonValue

Json = JsonValue
JsonObject = dict[str, JsonValue]


def canonical_json(value: Any) -> bytes:
    """Compact UTF-8 JSON with sorted keys: equal values give equal bytes. TypeError for what JSON can't hold."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def content_hash(value: Any) -> str:
    """The first 32 hex digits of SHA-256 over `canonical_json(value)`."""
    return sha256(canonical_json(value)).hexdigest()[:32]


class Data(BaseModel):
    """A value that travels between parts; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")

    def to_json(self) -> str:
        """Canonical JSON."""
        return canonical_json(self.model_dump(mode="json")).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        return cls.model_validate(orjson.loads(text))


class Config(BaseModel):
    """A part of a config file: immutable, unknown keys refused. Built when first used: a command needs few of them."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Seed(BaseModel):
    """What one task starts from; the hash of its content is the task's id."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answer(BaseModel):
    """What a model must return as JSON; its JSON schema is sent with the request and checked on arrival."""

    model_config = ConfigDict(extra="forbid")
