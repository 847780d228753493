"""Which columns of a row hold a conversation, in the shapes that public datasets have.

    {"messages": [...]}                                    OpenAI, all ages (schemas.foreign)
    {"conversations": [{"from": "human", "value": "..."}]} ShareGPT
    {"instruction": "...", "input": "..."}                 Alpaca
    {"question": "..."}  {"problem": "..."}  {"prompt": "..." or messages}

Each becomes a list of messages in our shape; a row with none of them is a ValueError that names what was looked for.

Source: the dataset cards of ShareGPT, Alpaca (https://github.com/tatsu-lab/stanford_alpaca) and GSM8K.
"""

from typing import Any

import orjson

from schemas.foreign import our_messages, our_tools

CONVERSATIONS = ("messages", "conversations", "conversation", "prompt", "chat")
TEXTS = ("prompt", "question", "problem", "instruction", "query", "text")
SYSTEMS = ("system", "system_prompt")
INPUTS = ("input", "context")
TOOLS = ("tools", "functions")

_SPEAKERS = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bard": "assistant", "model": "assistant",
             "observation": "tool", "function_response": "tool"}  # fmt: skip


def messages_in(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The conversation of a row in our shape, with its system column first; ValueError where it has none."""
    found = next((turns for name in CONVERSATIONS if (turns := _list(row.get(name)))), None)
    if found is not None:
        messages = our_messages([_openai(message) for message in found])
    else:
        text, given = _text(row, TEXTS), _text(row, INPUTS)
        if not text:
            raise ValueError(f"none of the columns {', '.join(dict.fromkeys((*CONVERSATIONS, *TEXTS)))} holds a prompt")
        messages = our_messages([{"role": "user", "content": f"{text}\n\n{given}" if given else text}])
    lead = _text(row, SYSTEMS)
    if lead and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": lead})
    return messages


def tools_in(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The tools of a row in our shape; ValueError where they are none."""
    return our_tools(next((row[name] for name in TOOLS if row.get(name)), None))


def _text(row: dict[str, Any], names: tuple[str, ...]) -> str:
    return next((row[name] for name in names if isinstance(row.get(name), str) and row[name].strip()), "")


def _list(value: Any) -> list[Any] | None:
    """A list of messages, also as its JSON text."""
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return None
    return value if isinstance(value, list) and value else None


def _openai(message: Any) -> Any:
    """A ShareGPT turn as an OpenAI one; anything else as it is."""
    if not isinstance(message, dict) or "from" not in message or "value" not in message:
        return message
    speaker = message["from"]
    return {"role": _SPEAKERS.get(speaker, speaker), "content": message["value"]}
