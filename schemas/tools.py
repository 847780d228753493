"""Tool definitions in OpenAI's function format."""

from typing import Literal

from pydantic import ConfigDict

from schemas.base import Data, JsonObject


class FunctionSpec(Data):
    """`parameters` is a JSON schema of type object; fields that we don't know (such as `strict`) are kept."""

    model_config = ConfigDict(extra="allow")

    name: str
    description: str = ""
    parameters: JsonObject = {"type": "object", "properties": {}}


class Tool(Data):
    type: Literal["function"] = "function"
    function: FunctionSpec

    def to_openai(self) -> JsonObject:
        """The tool as a request wants it. Nothing is copied: a conversation's every call carries all its tools."""
        spec = self.function
        written: JsonObject = {"name": spec.name, "description": spec.description, "parameters": spec.parameters}
        return {"type": self.type, "function": {**(spec.model_extra or {}), **written}}
