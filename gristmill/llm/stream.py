"""A streamed chat completion, put together again into the response that the same call gives without streaming.

A stream whose text has fallen into a repetition is cut off at once, with finish_reason "loop": a reasoning teacher that
goes round in circles would be paid for up to its last token. The usage of a cut stream is not told by the server; it
is estimated, one token per piece or per four characters, whichever are more.

Source: https://platform.openai.com/docs/api-reference/chat-streaming; `reasoning_content` and `reasoning` are the
names under which vLLM, SGLang and others stream the trace.
"""

from collections.abc import AsyncIterable
from typing import Any

import orjson

from gristmill.llm.loops import TAIL, loops

LOOK_EVERY = 2000  # characters between two looks for a repetition
BYTES_PER_TOKEN = 4


class StreamBroken(Exception):
    """The stream ended early, or with an error of the server's."""


class _Joined:
    """The message that the pieces make."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {"content": [], "reasoning_content": []}
        self.calls: dict[int, dict[str, Any]] = {}
        self.finish: str | None = None
        self.refusal = ""
        self.pieces = 0
        self._characters = 0
        self._since_look = 0
        self.logprobs: list[Any] = []

    def add(self, choice: dict[str, Any]) -> None:
        delta = choice.get("delta") or {}
        for name, text in (
            ("content", delta.get("content")),
            ("reasoning_content", delta.get("reasoning_content") or delta.get("reasoning")),
        ):
            if text:
                if not isinstance(text, str):
                    raise TypeError(f"{name} is no text")
                self.texts[name].append(text)
                self.pieces += 1
                self._characters += len(text)
                self._since_look += len(text)
        for call in delta.get("tool_calls") or []:
            self._add_call(call)
        self.refusal += delta.get("refusal") or ""
        self.logprobs += (choice.get("logprobs") or {}).get("content") or []
        self.finish = choice.get("finish_reason") or self.finish

    def _add_call(self, piece: dict[str, Any]) -> None:
        known = self.calls.setdefault(piece.get("index", 0), {"id": "", "function": {"name": "", "arguments": ""}})
        function = piece.get("function") or {}
        known["id"] = piece.get("id") or known["id"]
        known["function"]["name"] += function.get("name") or ""
        known["function"]["arguments"] += function.get("arguments") or ""
        self.pieces += 1

    @property
    def tokens(self) -> int:
        """An estimate."""
        return max(self.pieces, self._characters // BYTES_PER_TOKEN)

    def goes_round(self) -> bool:
        """Whether the text that grows at the moment ends in a repetition; looks only now and then."""
        if self._since_look < LOOK_EVERY:
            return False
        self._since_look = 0
        parts = self.texts["content"] or self.texts["reasoning_content"]
        return loops("".join(parts[-TAIL:]))  # a piece has at least one character

    def message(self) -> dict[str, Any]:
        texts = {name: "".join(parts) for name, parts in self.texts.items()}
        return {**texts, "tool_calls": list(self.calls.values()), "refusal": self.refusal}


async def read_stream(lines: AsyncIterable[bytes], request_bytes: int) -> dict[str, Any]:
    """The response's JSON. StreamBroken where the stream breaks off or reports an error."""
    joined = _Joined()
    usage: dict[str, Any] | None = None
    model = ""
    async for line in lines:
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            joined.finish = joined.finish or "stop"
            break
        try:
            event = orjson.loads(data)
            if event.get("error"):
                raise StreamBroken(f"an error in mid-stream: {event['error']}")
            usage = event.get("usage") or usage
            model = event.get("model") or model
            for choice in event.get("choices") or []:
                joined.add(choice)
        except orjson.JSONDecodeError:
            raise StreamBroken("a stream with an event that is not JSON") from None
        except (AttributeError, KeyError, TypeError):
            raise StreamBroken("a stream with an event that is none of a chat completion") from None
        if joined.goes_round():
            joined.finish = "loop"
            break
    if joined.finish is None:
        raise StreamBroken("a stream that breaks off")
    if usage is None:
        usage = {"prompt_tokens": request_bytes // BYTES_PER_TOKEN, "completion_tokens": joined.tokens}
    choice = {"message": joined.message(), "finish_reason": joined.finish, "logprobs": {"content": joined.logprobs}}
    return {"model": model, "choices": [choice], "usage": usage}
