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
