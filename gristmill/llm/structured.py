"""Structured answers: a JSON schema goes out with the request, and what comes back is checked here, always."""

import re
from collections.abc import Callable
from functools import cache
from typing import Any, Generic, NamedTuple, TypeVar

import orjson
from pydantic import ValidationError

from gristmill.errors import ConfigError
from schemas import Answer, JsonObject

T = TypeVar("T")
_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)\n?```", re.DOTALL)


class Shape(NamedTuple, Generic[T]):
    """What an answer must look like: `parse` gives the value, or raises ValueError with what is wrong."""

    name: str
    schema: JsonObject
    parse: Callable[[str], T]

    def response_format(self) -> JsonObject:
        return {"type": "json_schema", "json_schema": {"name": self.name, "schema": self.schema, "strict": True}}


@cache
def answer_shape(answer: type[Answer]) -> Shape[Any]:
    """The shape of a pydantic Answer."""

    def parse(text: str) -> Answer:
        try:
            return answer.model_validate_json(json_text(text), strict=True)
        except ValidationError as error:
            problem = error.errors()[0]
            raise ValueError(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None

    return Shape(answer.__name__, answer.model_json_schema(), parse)


def object_shape(name: str, properties: JsonObject) -> Shape[JsonObject]:
    """The shape of an object with exactly these properties, each given by its JSON schema."""
    import jsonschema_rs

    schema: JsonObject = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    try:
        validator = jsonschema_rs.validator_for(schema)
    except jsonschema_rs.ValidationError as error:
        raise ConfigError(f"the schema of {name} is not a JSON schema: {error.message}.") from None

    def parse(text: str) -> JsonObject:
        value: JsonObject = orjson.loads(json_text(text))
        for error in validator.iter_errors(value):
            raise ValueError(f"{'.'.join(map(str, error.instance_path))}: {error.message}")
        return value

    return Shape(name, schema, parse)


def json_text(text: str) -> str:
    """The JSON in a reply: the reply itself, or its only fenced block."""
    text = text.strip()
    if text.startswith(("{", "[")):
        return text
    fenced = _FENCED.findall(text)
    return str(fenced[0]) if len(fenced) == 1 else text
