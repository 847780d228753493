"""The Nemotron 3 chat format: ChatML turns, reasoning in <think>, tools and tool calls as XML.

    <|im_start|>system
    # Tools ... <tools> <function> <name>get_time</name> ... </tools> ...<|im_end|>
    <|im_start|>user
    What time is it in Oslo?<|im_end|>
    <|im_start|>assistant
    <think>
    [I have to look it up.
    </think>
    <tool_call>
    <function=get_time>
    <parameter=city>
    Oslo
    </parameter>
    </function>
    </tool_call>
    <|im_end|>]
    <|im_start|>user
    <tool_response>
    12:30
    </tool_response>
    <|im_end|>

In brackets: what is supervised, i.e. what the model writes after a generation prompt. That is neither the opening
`<think>\\n`, nor an empty `<think></think>`, nor the newline after `<|im_end|>`. Values are literal: `</think>` in a
message is text, here and (through the tokenizer) in the token ids. The hub's template instead takes `<think>` or
`</think>` in an assistant's content for markup; only there does its text differ from ours.

Source: the chat template of the checkpoints NVIDIA-Nemotron-3-Super at https://huggingface.co/nvidia. Our own addition
is the thinking budget, a flag in the last user turn beside the format's `{reasoning effort: low}`.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gristmill.render.pieces import Block, Conversation, History, Piece, RenderError, budget_flag, spans
from schemas import Message, Tool, ToolCall

IM_START, IM_END = "<|im_start|>", "<|im_end|>"
THINK, END_THINK = "<think>", "</think>"
TOOL_CALL, END_TOOL_CALL = "<tool_call>", "</tool_call>"
TOOL_RESPONSE, END_TOOL_RESPONSE = "<tool_response>", "</tool_response>"
CONTROL_TOKENS = (IM_START, IM_END, THINK, END_THINK, TOOL_CALL, END_TOOL_CALL, TOOL_RESPONSE, END_TOOL_RESPONSE)

TOOLS_INTRODUCTION = "# Tools\n\nYou have access to the following functions:\n\n<tools>"
_INSTRUCTION = """

If you choose to call a function ONLY reply in the following format with NO suffix:

<tool_call>
<function=example_function_name>
<parameter=example_parameter_1>
value_1
</parameter>
<parameter=example_parameter_2>
This is the value for the second parameter
that can span
multiple lines
</parameter>
</function>
</tool_call>

<IMPORTANT>
Reminder:
- Function calls MUST follow the specified format: an inner <function=...></function> block must be nested within \
<tool_call></tool_call> XML tags
- Required parameters MUST be specified
- You may provide optional reasoning for your function call in natural language BEFORE the function call, but NOT after
- If there is no function call available, answer the question like normal with your current knowledge and do not tell \
the user about function calls
</IMPORTANT>"""
_CONTROL = re.compile(f"({'|'.join(map(re.escape, CONTROL_TOKENS))})")
TOOLS_INSTRUCTION = tuple(Piece(text, control=text in CONTROL_TOKENS) for text in _CONTROL.split(_INSTRUCTION))

START, END = Piece(IM_START, control=True), Piece(IM_END, control=True)
NEWLINE = Piece("\n")


class Nemotron3:
    """The format as a template. `source` is its Jinja form, for the servers of a trained model."""

    required: tuple[str, ...] = (IM_START, IM_END)

    def __init__(self) -> None:
        self.source = Path(__file__).with_name("nemotron3.jinja").read_text(encoding="utf-8")

    def sequences(self, conversation: Conversation, history: History) -> list[list[Block]]:
        turns = _Turns(conversation, history)
        return [turns.blocks(span.start, span.end) for span in spans(conversation, history)]

    def prompt(self, conversation: Conversation, history: History) -> list[Block]:
        opening = [Piece(THINK, control=True)]
        opening += [NEWLINE] if conversation.thinking else [Piece(END_THINK, control=True)]
        turns = _Turns(conversation, history)
        end = len(conversation.messages)
        return [*turns.blocks(end, end), (START, Piece("assistant\n"), *opening)]


class _Turns:
    """The blocks of one conversation, each made once for all sequences that it stands in."""

    def __init__(self, conversation: Conversation, history: History) -> None:
        self.conversation = conversation
        self.truncate = history == "truncate"
        self.made: dict[tuple[int, bool, bool], Block] = {}

    def blocks(self, start: int, end: int) -> list[Block]:
        """The sequence of `messages[:end]` that supervises the assistant's turns from `start` on."""
        messages = self.conversation.messages[:end]
        last_user = self.conversation.up_to(end).last_user()
        headed = bool(messages) and messages[0].role == "system"
        head = system_block(messages[0].content if headed else "", self.conversation.tools)
        turns = [
            self._block(i, i < last_user, i >= start)
            for i in range(1 if headed else 0, end)
            if not (messages[i].role == "tool" and i > 0 and messages[i - 1].role == "tool")
        ]
        return [head, *turns]

    def _block(self, index: int, past: bool, supervised: bool) -> Block:
        """The turn that begins with message `index`; `past` means before the last user message."""
        key = (index, past, supervised)
        if key not in self.made:
            message = self.conversation.messages[index]
            match message.role:
                case "assistant":
                    self.made[key] = assistant_block(message, past and self.truncate, supervised)
                case "tool":
                    self.made[key] = tool_block(self._results(index))
                case "user":
                    flags = "" if past else _flags(self.conversation)
                    self.made[key] = (START, Piece("user\n" + message.content + flags), END, NEWLINE)
                case "system":
                    self.made[key] = system_block(message.content, [])
        return self.made[key]

    def _results(self, index: int) -> Iterator[str]:
        """The contents of the tool messages that stand together from `index` on."""
        for message in self.conversation.messages[index:]:
            if message.role != "tool":
                return
            yield message.content


def _flags(conversation: Conversation) -> str:
    return ("\n\n{reasoning effort: low}" if conversation.low_effort else "") + budget_flag(conversation)


def system_block(content: str, tools: list[Tool]) -> Block:
    if not tools:
        return (START, Piece("system\n" + content), END, NEWLINE)
    separator = "\n\n" if content else ""
    described = "".join(map(_describe_tool, tools))
    listed = Piece(f"system\n{content}{separator}{TOOLS_INTRODUCTION}{described}\n</tools>")
    return (START, listed, *TOOLS_INSTRUCTION, END, NEWLINE)


def tool_block(contents: Iterator[str]) -> Block:
    """Results that follow each other share one user turn."""
    results = [
        piece
        for content in contents
        for piece in (
            Piece(TOOL_RESPONSE, control=True),
            Piece(f"\n{content}\n"),
            Piece(END_TOOL_RESPONSE, control=True),
            NEWLINE,
        )
    ]
    return (START, Piece("user\n"), *results, END, NEWLINE)


def assistant_block(message: Message, past: bool, supervised: bool) -> Block:
    """An assistant's turn; `past` shows it without its trace, as a template that truncates history does.

    The blanks around a turn's content follow the hub's template to the letter: the end is always trimmed, the start
    only in a past turn with tool calls, and the line break after a trace outlives the trace.
    """
    trace, content = message.reasoning_content, message.content
    pieces = [START, Piece("assistant\n"), Piece(THINK, control=True)]
    if trace and not past:
        pieces += [NEWLINE, Piece(trace + "\n", supervised), Piece(END_THINK, supervised, control=True)]
    else:
        pieces.append(Piece(END_THINK, control=True))
    reply = ("\n" + content if trace else content).rstrip()
    if past and message.tool_calls:
        reply = reply.lstrip()
    pieces.append(Piece(reply + ("\n" if message.tool_calls else ""), supervised))
    for call in message.tool_calls:
        pieces += [
            Piece(TOOL_CALL, supervised, control=True),
            Piece(_call_text(call), supervised),
            Piece(END_TOOL_CALL, supervised, control=True),
            Piece("\n", supervised),
        ]
    return (*pieces, Piece(IM_END, supervised, control=True), NEWLINE)


def _call_text(call: ToolCall) -> str:
    parameters = "".join(
        f"<parameter={key}>\n{_value(value)}\n</parameter>\n" for key, value in arguments(call).items()
    )
    return f"\n<function={call.function.name}>\n{parameters}</function>\n"


def arguments(call: ToolCall) -> dict[str, Any]:
    """A call's arguments as a mapping; RenderError where they are no JSON object ("" counts as an empty one)."""
    written = call.function.arguments
    try:
        parsed = json.loads(written) if written.strip() else {}
        json.dumps(parsed, ensure_ascii=False).encode()  # fails on half a surrogate pair, which no tokenizer takes
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        raise RenderError(f"the arguments of the call to {call.function.name} are no JSON object: {written[:80]!r}.")
    return parsed


def _value(value: Any) -> str:
    """Lists and mappings as JSON; scalars as Python prints them (True, None), which is what the format shows."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value)


def _describe_tool(tool: Tool) -> str:
    function = tool.function.model_dump(mode="json")
    parameters = function["parameters"]
    properties = parameters.get("properties")
    lines = [f"\n<function>\n<name>{function['name']}</name>"]
    lines.append(f"\n<description>{function['description'].strip()}</description>\n<parameters>")
    if isinstance(properties, dict):
        lines += [_describe_parameter(name, fields) for name, fields in properties.items()]
    lines.append(_other_keys(parameters, {"type", "properties", "required"}))
    if "required" in parameters:
        lines.append(f"\n<required>{json.dumps(parameters['required'], ensure_ascii=False)}</required>")
    lines.append("\n</parameters>")
    lines.append(_other_keys(function, {"type", "name", "description", "parameters"}))
    lines.append("\n</function>")
    return "".join(lines)


def _describe_parameter(name: str, fields: Any) -> str:
    """`fields` is the parameter's JSON schema; a schema that is `true` or `false` has nothing to show."""
    lines = [f"\n<parameter>\n<name>{name}</name>"]
    if isinstance(fields, dict):
        if "type" in fields:
            lines.append(f"\n<type>{fields['type']}</type>")
        if "description" in fields:
            lines.append(f"\n<description>{str(fields['description']).strip()}</description>")
        if "enum" in fields:
            lines.append(f"\n<enum>{json.dumps(fields['enum'], ensure_ascii=False)}</enum>")
        lines.append(_other_keys(fields, {"name", "type", "description", "enum"}))
    return "".join(lines) + "\n</parameter>"


def _other_keys(fields: Mapping[str, Any], shown: set[str]) -> str:
    return "".join(f"\n<{key}>{_value(value)}</{key}>" for key, value in fields.items() if key not in shown)
