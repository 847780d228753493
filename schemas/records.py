"""A record: one verified conversation with its verdicts and its provenance."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from schemas.base import Data, JsonObject, canonical_json, content_hash
from schemas.messages import Message
from schemas.tools import Tool

ReasoningMode = Literal["on", "off", "low"]


class Usage(Data):
    """Tokens of one or more calls. `reasoning` is a part of `output`, `cached` a part of `input`."""

    input: int = 0
    output: int = 0
    reasoning: int = 0
    cached: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            input=self.input + other.input,
            output=self.output + other.output,
            reasoning=self.reasoning + other.reasoning,
            cached=self.cached + other.cached,
        )


class Verdict(Data):
    """What one judge or validator found. `passed` None means undecided, which is never an accept; `cost` is in USD.

    `parts` are verdicts on parts of the question, such as a rubric's dimensions; a record lists them one by one, as
    `NAME.PART`.
    """

    name: str
    passed: bool | None
    score: float | None = None
    reason: str = ""
    model: str | None = None
    cost: float = 0.0
    parts: Annotated[list["Verdict"], Field(exclude=True)] = []


class Provenance(Data):
    """Where a record comes from: the model of each role, prompt hashes, ledger keys of its calls, tokens, cost.

    `licenses` are those of its seed (`seeds`) and of its models' outputs (by role), where they are stated.
    """

    models: dict[str, str] = Field(default_factory=dict)
    prompts: dict[str, str] = Field(default_factory=dict)
    calls: list[str] = Field(default_factory=list)
    tokens: Usage = Field(default_factory=Usage)
    usd: float = 0.0
    seed: int = 0
    licenses: dict[str, str] = Field(default_factory=dict)


class Record(Data):
    """One conversation. A generator gives messages, tools, category and metadata; the engine fills in the rest.

    `uuid` is the content hash of messages and tools when the record is made, and never changes afterwards. `reasoning`
    follows from the traces where it isn't given.
    """

    messages: list[Message]
    tools: list[Tool] = Field(default_factory=list)
    category: str = ""
    reasoning: ReasoningMode = "off"
    license: str = ""
    metadata: JsonObject = Field(default_factory=dict)
    used_in: list[str] = Field(default_factory=list)
    verdicts: list[Verdict] = Field(default_factory=list)
    provenance: Provenance = Field(default_factory=Provenance)
    generator: str = ""
    version: str = ""
    task_id: str = ""
    uuid: str = ""

    @field_validator("metadata", "tools")
    @classmethod
    def _storable(cls, value: Any) -> Any:
        try:
            canonical_json([tool.model_dump() for tool in value] if isinstance(value, list) else value)
        except TypeError as error:
            raise ValueError(f"can't be written as JSON: {error}") from None
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if "reasoning" not in self.model_fields_set:
            self.reasoning = "on" if any(message.reasoning_content for message in self.messages) else "off"
        if not self.uuid:
            self.uuid = conversation_hash(self.messages, self.tools)
        return self


def conversation_hash(messages: list[Message], tools: list[Tool]) -> str:
    """32 hex digits over the canonical messages and tools: the identity of a conversation."""
    return content_hash([[m.model_dump(mode="json") for m in messages], [t.model_dump(mode="json") for t in tools]])
