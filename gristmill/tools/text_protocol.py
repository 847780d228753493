"""Tool calls for endpoints that know none: the conversation as text, and the model's lines back as calls.

    What is sent                              What the record holds
    ------------                              ---------------------
    user       User: Weather in Ghent?        user       Weather in Ghent?
    assistant  Thought: I look it up.         assistant  reasoning_content: I look it up.
               Action: get_weather                       tool_calls: [call_1 get_weather {"city": "Ghent"}]
               Action Input: {"city": "Ghent"}
    user       Observation: {"sky": "rain"}   tool       call_1: {"sky": "rain"}
    assistant  Answer: It rains.              assistant  It rains.

A reply is a Thought (it may be left out), then either an Answer or one or more pairs of Action and Action Input. It is
read strictly: what has another form is `Reject(llm, text_protocol)`. The arguments stay as the model wrote them;
whether they are JSON that fits the tool is a question for `judges.tool_calls`, as with native calls.

Source: ReAct, https://arxiv.org/abs/2210.03629 (the lines of its prompts); several calls a turn are ours.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from gristmill.errors import Reject
from schemas import Function, Message, Tool, ToolCall, system, user

STOP = ["\nObservation:"]
"""Where a model begins to invent the tool's answer."""

_INSTRUCTIONS = """\
You can call these tools. Each line is one tool with the JSON schema of its arguments:
{tools}

Write in exactly one of these two forms. To call a tool (repeat the last two lines to call several at once):
Thought: why you call it
Action: name of the tool
Action Input: its arguments as one JSON object
You then get an Observation with the result. To speak to the user:
Thought: why you can answer
Answer: what you say"""

_CALL = re.compile(r"^Action:.*\nAction Input:", re.MULTILINE)
_MARKER = re.compile(r"^(Thought|Action|Action Input|Answer|Observation):[ \t]*", re.MULTILINE)


def as_text(messages: Sequence[Message], tools: Iterable[Tool]) -> list[Message]:
    """The conversation without calls and tool turns, its system turn (a new one where there is none) with the tools."""
    listed = "\n".join(tool.function.model_dump_json() for tool in tools)
    told = _INSTRUCTIONS.replace("{tools}", listed)
    if messages and messages[0].role == "system":
        return [system(f"{messages[0].content}\n\n{told}"), *_turns(messages[1:])]
    return [system(told), *_turns(messages)]


def _turns(messages: Sequence[Message]) -> Iterator[Message]:
    """Results that follow one another are one turn: chat templates want user and assistant to alternate."""
    results: list[str] = []
    for message in messages:
        if message.role == "tool":
            results.append(f"Observation: {message.content}")
            continue
        if results:
            yield user("\n".join(results))
            results = []
        if message.role == "user":
            yield user(f"User: {message.content}")
        elif message.role == "assistant":
            yield Message(role="assistant", content=_lines(message))
        else:
            yield message
    if results:
        yield user("\n".join(results))


def _lines(turn: Message) -> str:
    thought = [f"Thought: {turn.reasoning_content}"] if turn.reasoning_content else []
    if not turn.tool_calls:
        return "\n".join([*thought, f"Answer: {turn.content}"])
    calls = [f"Action: {call.function.name}\nAction Input: {call.function.arguments}" for call in turn.tool_calls]
    return "\n".join([*thought, *calls])


def read_turn(reply: Message) -> Message:
    """The assistant's turn that a reply says, else Reject(llm, text_protocol). A thought joins the native trace."""
    text = reply.content.strip()
    head, answer = _split_at_answer(text)
    parts = _parts(head, text)
    thought = parts.pop(0)[1] if parts and parts[0][0] == "Thought" else ""
    trace = "\n".join(filter(None, (reply.reasoning_content, thought))) or None
    if answer is not None:
        if parts or _CALL.search(answer):
            raise _refused("it speaks and calls a tool at once", text)
        if not answer:
            raise _refused("its Answer is empty", text)
        return Message(role="assistant", content=answer, reasoning_content=trace)
    names, inputs = parts[::2], parts[1::2]
    if not parts or len(names) != len(inputs):
        raise _refused("neither an Answer nor pairs of Action and Action Input", text)
    if any(marker != "Action" for marker, _ in names) or any(marker != "Action Input" for marker, _ in inputs):
        raise _refused("its lines come in another order", text)
    calls = [
        ToolCall(id="", function=Function(name=name, arguments=arguments))
        for (_, name), (_, arguments) in zip(names, inputs, strict=True)
    ]
    return Message(role="assistant", reasoning_content=trace, tool_calls=calls)


def _split_at_answer(text: str) -> tuple[str, str | None]:
    """What stands before the Answer, and the Answer: all that follows it."""
    for found in _MARKER.finditer(text):
        if found[1] == "Answer":
            return text[: found.start()], text[found.end() :].strip()
    return text, None


def _parts(head: str, text: str) -> list[tuple[str, str]]:
    """The marked lines with what they say, in their order."""
    found = list(_MARKER.finditer(head))
    if head.strip() and (not found or found[0].start() > 0):
        raise _refused("it doesn't begin with Thought, Action or Answer", text)
    if any(marker[1] == "Observation" for marker in found):
        raise _refused("it makes up an Observation", text)
    starts = [marker.start() for marker in found] + [len(head)]
    return [(marker[1], head[marker.end() : end].strip()) for marker, end in zip(found, starts[1:], strict=True)]


def _refused(why: str, text: str) -> Reject:
    return Reject("llm", "text_protocol", why, reply=text)
