"""Chat messages in the OpenAI shape, with `reasoning_content` for a model's trace."""

from typing import Literal

from pydantic import Field, field_validator

from schemas.base import Data, JsonObject

MessageRole = Literal["system", "user", "assistant", "tool"]


class Function(Data):
    name: str
    arguments: str  # a JSON string, as the model wrote it


class ToolCall(Data):
    id: str
    type: Literal["function"] = "function"
    function: Function

    def to_openai(self) -> JsonObject:
        """The call as a request wants it; every turn of a conversation sends all calls before it."""
        function: JsonObject = {"name": self.function.name, "arguments": self.function.arguments}
        return {"id": self.id, "type": self.type, "function": function}


class Message(Data):
    """One turn. `content` is "" where a turn has none; `reasoning_content` is None, never "", without a trace."""

    role: MessageRole
    content: str = ""
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] = Field(default_factory=list)
    tool_call_id: str | None = None
    name: str | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _no_null_content(cls, value: object) -> object:
        return "" if value is None else value

    @field_validator("tool_calls", mode="before")
    @classmethod
    def _no_null_calls(cls, value: object) -> object:
        return [] if value is None else value

    @field_validator("reasoning_content")
    @classmethod
    def _no_empty_trace(cls, value: str | None) -> str | None:
        return value or None

    def to_openai(self) -> JsonObject:
        """The message as a request or a chat template wants it: empty fields left out."""
        sparse: JsonObject = {"role": self.role, "content": self.content}
        if self.reasoning_content is not None:
            sparse["reasoning_content"] = self.reasoning_content
        if self.tool_calls:
            sparse["tool_calls"] = [call.to_openai() for call in self.tool_calls]
        if self.tool_call_id is not None:
            sparse["tool_call_id"] = self.tool_call_id
        if self.name is not None:
            sparse["name"] = self.name
        return sparse


def system(content: str) -> Message:
    return Message(role="system", content=content)


def user(content: str) -> Message:
    return Message(role="user", content=content)


def assistant(content: str = "", reasoning: str | None = None, tool_calls: list[ToolCall] | None = None) -> Message:
    return Message(role="assistant", content=content, reasoning_content=reasoning, tool_calls=tool_calls or [])


def tool(content: str, tool_call_id: str, name: str | None = None) -> Message:
    return Message(role="tool", content=content, tool_call_id=tool_call_id, name=name)
