"""Which columns of a row hold a conversation, in the shapes that public datasets have.

    {"messages": [...]}                                          OpenAI, all ages (schemas.foreign); Nemotron v2, v3
    {"conversations": [{"from": "human", "value": "..."}]}       ShareGPT, with `system` and `tools` beside it
    {"instruction": "...", "input": "...", "output": "..."}      Alpaca, with `history` as pairs
    {"input": [{"role": "user", ...}], "output": "..."}          Llama-Nemotron, with `system_prompt`
    {"question": "...", "answer": "..."}                         and problem/solution, prompt/completion, ...

`messages_in` gives the conversation up to where a model answers, `conversation_in` all of it. Both give messages in our
shape; a row with none of them is a ValueError that names what was looked for. A trace that stands in the text,
`<think>...</think>` before the answer, becomes the message's `reasoning_content`.

Source: the dataset cards of ShareGPT, Alpaca (https://github.com/tatsu-lab/stanford_alpaca), GSM8K and
nvidia/Llama-Nemotron-Post-Training-Dataset; function calls in ShareGPT as LLaMA-Factory documents them.
"""

import re
from typing import Any, NamedTuple

import orjson

from schemas.foreign import our_messages, our_tools

CONVERSATIONS = ("messages", "conversations", "conversation", "prompt", "chat", "input")
TEXTS = ("prompt", "question", "problem", "instruction", "query", "text")
SYSTEMS = ("system", "system_prompt")
INPUTS = ("input", "context")
HISTORIES = ("history",)
ANSWERS = ("output", "response", "completion", "answer", "solution", "chosen")
TOOLS = ("tools", "functions")

_SPEAKERS = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bard": "assistant", "model": "assistant",
             "observation": "tool", "function_response": "tool", "function_call": "assistant"}  # fmt: skip
_TRACE = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)


class Found(NamedTuple):
    """A conversation, and the columns that it was read from."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    columns: frozenset[str]


def messages_in(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The conversation of a row in our shape, with its system column first; ValueError where it has none."""
    return our_messages(_prompt(_Columns(row)))


def conversation_in(row: dict[str, Any]) -> Found:
    """The same with the answer that stands in a column of its own; ValueError where a lone prompt has none."""
    columns = _Columns(row)
    asked = _prompt(columns)
    if _is_open(asked):
        answer = _list(columns.first(ANSWERS, _list)) or _text_turn("assistant", columns.first(ANSWERS, _text))
        if not answer and "messages" not in columns.read and len(asked) == 1:
            raise ValueError(f"messages: none of the columns {', '.join(ANSWERS)} holds an answer to the prompt")
        asked = [*asked, *map(_openai, answer)]
    messages = [_with_trace(message) for message in our_messages(asked)]
    tools = our_tools(columns.first(TOOLS, bool))
    return Found(messages, tools, frozenset(columns.read))


def tools_in(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The tools of a row in our shape; ValueError where they are none."""
    return our_tools(_Columns(row).first(TOOLS, bool))


class _Columns:
    """A row that remembers which of its columns were read."""

    def __init__(self, row: dict[str, Any]) -> None:
        self._row = row
        self.read: set[str] = set()

    def first(self, names: tuple[str, ...], fits: Any) -> Any:
        """The value of the first of these columns that fits, or None."""
        name = next((name for name in names if fits(self._row.get(name))), None)
        if name is None:
            return None
        self.read.add(name)
        return self._row[name]


def _prompt(columns: _Columns) -> list[Any]:
    """The messages that a row holds, or one of the text that it asks."""
    found = _list(columns.first(CONVERSATIONS, _list))
    if found:
        messages = [_openai(message) for message in found]
    else:
        text, given = columns.first(TEXTS, _text), columns.first(INPUTS, _text)
        if not text and not given:
            looked_for = ", ".join(dict.fromkeys((*CONVERSATIONS, *TEXTS)))
            raise ValueError(f"messages: none of the columns {looked_for} holds a prompt")
        past = [turn for pair in columns.first(HISTORIES, _is_history) or () for turn in _exchange(pair)]
        messages = [*past, *_text_turn("user", "\n\n".join(part for part in (text, given) if part))]
    lead = columns.first(SYSTEMS, _text)
    first = messages[0]
    if lead and not (isinstance(first, dict) and first.get("role") in ("system", "developer")):
        messages.insert(0, {"role": "system", "content": lead})
    return messages


def _is_open(messages: list[Any]) -> bool:
    """Whether somebody waits for an answer at the end."""
    last = messages[-1]
    return isinstance(last, dict) and last.get("role") not in ("assistant", "model")


def _exchange(pair: Any) -> list[dict[str, Any]]:
    return [*_text_turn("user", pair[0]), *_text_turn("assistant", pair[1])]


def _text_turn(role: str, text: str | None) -> list[dict[str, Any]]:
    return [{"role": role, "content": text}] if text else []


def _with_trace(message: dict[str, Any]) -> dict[str, Any]:
    """A trace at the start of an assistant's text in the place where it belongs; an empty one is none."""
    if message["role"] != "assistant" or "reasoning_content" in message:
        return message
    found = _TRACE.match(message["content"])
    if found is None:
        return message
    trace = found[1].strip()
    rest = message["content"][found.end() :]
    return {**message, "content": rest, **({"reasoning_content": trace} if trace else {})}


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_history(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in value)


def _list(value: Any) -> list[Any]:
    """A list of messages, also as its JSON text; else an empty one."""
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return []
    return value if isinstance(value, list) and value and isinstance(value[0], dict) else []


def _openai(message: Any) -> Any:
    """A ShareGPT turn as an OpenAI one; anything else as it is."""
    if not isinstance(message, dict) or "from" not in message or "value" not in message:
        return message
    speaker, value = message["from"], message["value"]
    if speaker == "function_call":
        several = isinstance(value, str) and value.lstrip().startswith("[")
        return {"role": "assistant", "content": "", "tool_calls" if several else "function_call": value}
    return {"role": _SPEAKERS.get(speaker, speaker), "content": value}
