"""What a model answered: message, trace, tokens; and whether it is an answer at all."""

from dataclasses import dataclass, field
from typing import Any

import orjson

from gristmill.errors import Reject
from gristmill.llm.loops import loops
from schemas import Function, JsonObject, Message, ToolCall, Usage, canonical_json

CHARACTERS_PER_TOKEN = 4


@dataclass(slots=True)
class Reply:
    """One answer. `message.reasoning_content` is the native trace; `usd` and `key` are set by the context.

    `logprobs` is the list under `choices[0].logprobs.content` where the request asked for it, else None. A `refusal` is
    what the model said instead of an answer. `vectors` are embeddings, packed by `gristmill.llm.embeddings`.
    """

    message: Message
    finish_reason: str
    usage: Usage
    model: str
    refusal: str = ""
    logprobs: list[Any] | None = None
    vectors: list[str] = field(default_factory=list)
    usd: float = 0.0
    key: str = ""

    @property
    def text(self) -> str:
        return self.message.content

    @property
    def structured_text(self) -> str:
        """The text that should be JSON: the call's arguments where the endpoint answers by a call, else the content."""
        calls = self.message.tool_calls
        return calls[0].function.arguments if calls else self.text

    def to_json(self) -> bytes:
        """The form in which the ledger keeps it."""
        usage = self.usage
        kept = {
            "message": self.message.to_openai(),
            "finish_reason": self.finish_reason,
            "usage": [usage.input, usage.output, usage.reasoning, usage.cached],
            "model": self.model,
        }
        if self.refusal:
            kept["refusal"] = self.refusal
        if self.logprobs is not None:
            kept["logprobs"] = self.logprobs
        if self.vectors:
            kept["vectors"] = self.vectors
        return orjson.dumps(kept)

    @classmethod
    def from_json(cls, kept: bytes) -> "Reply":
        fields = orjson.loads(kept)
        return cls(
            Message(**fields["message"]),
            fields["finish_reason"],
            Usage(**dict(zip(("input", "output", "reasoning", "cached"), fields["usage"], strict=True))),
            fields["model"],
            fields.get("refusal", ""),
            fields.get("logprobs"),
            fields.get("vectors", []),
        )

    def fault(self) -> str | None:
        """Why this is no answer: refused, content_filter, truncated, loop or no_answer; None where it is one."""
        if self.refusal:
            return "refused"
        if self.finish_reason == "content_filter":
            return "content_filter"
        if self.finish_reason == "length":
            return "truncated"
        if self.finish_reason == "loop":
            return "loop"
        if not self.message.content.strip() and not self.message.tool_calls:
            return "no_answer"
        if loops(self.message.content) or loops(self.message.reasoning_content or ""):
            return "loop"
        return None

    def require_answer(self) -> "Reply":
        """Itself, or Reject(llm, ...) where it is no answer: such a reply never becomes a record."""
        fault = self.fault()
        if fault:
            raise Reject("llm", fault, self.refusal or _tail(self.message), finish_reason=self.finish_reason)
        return self


def _tail(message: Message) -> str:
    text = message.content or message.reasoning_content or ""
    return f"... {text[-80:]}" if len(text) > 80 else text


def parse_chat(body: dict[str, Any]) -> Reply:
    """A /chat/completions response. ValueError where it has not that shape."""
    choice = _first_choice(body)
    message = choice.get("message")
    if not isinstance(message, dict):
        raise ValueError("the response has no message")
    content = message.get("content") or ""
    finish = str(choice.get("finish_reason") or "stop")
    trace = message.get("reasoning_content") or message.get("reasoning")
    if not trace:
        trace, content, closed = split_think(content)
        finish = finish if closed else "length"
    calls = [_tool_call(call, position) for position, call in enumerate(message.get("tool_calls") or [])]
    turn = Message(role="assistant", content=content, reasoning_content=trace or None, tool_calls=calls)
    usage = parse_usage(body)
    if trace and not usage.reasoning:  # most open servers count the trace into the output, but don't say how much it is
        usage.reasoning = usage.output * len(trace) // (len(trace) + len(content))
    logprobs = (choice.get("logprobs") or {}).get("content") or None
    return Reply(turn, finish, usage, str(body.get("model") or ""), str(message.get("refusal") or ""), logprobs)


def _tool_call(call: dict[str, Any], position: int) -> ToolCall:
    try:
        function = call["function"]
        arguments = function.get("arguments") or "{}"
        if not isinstance(arguments, str):  # some servers send the parsed object
            arguments = orjson.dumps(arguments).decode()
        return ToolCall(
            id=str(call.get("id") or f"call_{position}"), function=Function(name=function["name"], arguments=arguments)
        )
    except (KeyError, TypeError, AttributeError):
        raise ValueError("the response has a malformed tool call") from None


def parse_completion(body: dict[str, Any]) -> Reply:
    """A /completions response. ValueError where it has not that shape."""
    choice = _first_choice(body)
    finish = str(choice.get("finish_reason") or "stop")
    turn = Message(role="assistant", content=choice.get("text") or "")
    return Reply(turn, finish, parse_usage(body), str(body.get("model") or ""))


def _first_choice(body: dict[str, Any]) -> dict[str, Any]:
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise ValueError("the response has no choices")
    return choices[0]


def split_think(content: str) -> tuple[str | None, str, bool]:
    """(trace, rest, closed) of a content with its trace in <think> tags; servers may swallow the opening one."""
    head, closing, rest = content.partition("</think>")
    if closing:
        return head.replace("<think>", "", 1).strip(), rest.lstrip(), True
    if content.lstrip().startswith("<think>"):
        return content.replace("<think>", "", 1).strip(), "", False
    return None, content, True


def parse_usage(body: dict[str, Any]) -> Usage:
    usage = body.get("usage") or {}
    output_details = usage.get("completion_tokens_details") or {}
    input_details = usage.get("prompt_tokens_details") or {}
    return Usage(
        input=usage.get("prompt_tokens") or 0,
        output=usage.get("completion_tokens") or 0,
        reasoning=output_details.get("reasoning_tokens") or 0,
        cached=input_details.get("cached_tokens") or usage.get("prompt_cache_hit_tokens") or 0,
    )


def estimate_usage(request: JsonObject, reply: Reply) -> Usage:
    """For a server that doesn't tell: without it no budget would ever be reached."""
    message = reply.message
    trace, calls = len(message.reasoning_content or ""), sum(len(c.function.arguments) for c in message.tool_calls)
    return Usage(
        input=len(canonical_json(request)) // CHARACTERS_PER_TOKEN,
        output=(len(message.content) + trace + calls) // CHARACTERS_PER_TOKEN + 1,
        reasoning=trace // CHARACTERS_PER_TOKEN,
    )
