"""Any other chat format: a Jinja template that marks what the model writes as {% generation %} ... {% endgeneration %}.

    <|im_start|>assistant
    {% generation %}{{ message.content }}<|im_end|>{% endgeneration %}

The template runs in transformers' sandbox, with the names that hub templates expect. Three noncharacters that the
conversation doesn't hold make the mask exact. Two stand where a mark begins and ends, so that they travel with the text
(transformers counts characters, which goes wrong where a mark stands in a macro); the text is cut there, so each token
lies on one side. The third goes into every value that holds the text of a control token, and is taken out after the
rendered text has been cut at the control tokens: so a value's text stays text.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from jinja2 import TemplateSyntaxError

from gristmill.errors import ConfigError
from gristmill.render.nemotron3 import arguments
from gristmill.render.pieces import Block, Conversation, History, Piece, RenderError, Span, budget_flag, spans
from schemas import Message

NONCHARACTERS = [chr(code) for code in range(0xFDD0, 0xFDF0)]
MARK_START = re.compile(r"\{%([-+]?)\s*generation\s*([-+]?)%\}")
MARK_END = re.compile(r"\{%([-+]?)\s*endgeneration\s*([-+]?)%\}")


class Signs(NamedTuple):
    """Noncharacters with a meaning, in one rendering."""

    start: str  # what the model writes begins here
    end: str  # ... and ends here
    guard: str  # stands inside a value's text that reads like a control token

    def taken_out(self, text: str) -> str:
        """`text` without the signs of where output starts and ends."""
        return text.replace(self.start, "").replace(self.end, "")


class JinjaTemplate:
    """A template from its text. `control` are the texts that the tokenizer knows as control tokens."""

    required: tuple[str, ...] = ()

    def __init__(self, source: str, control: Iterable[str]) -> None:
        if not MARK_START.search(source):
            raise ConfigError(
                "template: mark what the assistant writes; put it between {% generation %} and {% endgeneration %}."
            )
        self.source = source
        self.marked = _with_signs(source)
        self.control = re.compile("|".join(map(re.escape, sorted(control, key=len, reverse=True))) or r"(?!)")

    def sequences(self, conversation: Conversation, history: History) -> list[list[Block]]:
        signs = _unused_signs(conversation)
        return [[self._sequence(conversation, span, history, signs)] for span in spans(conversation, history)]

    def prompt(self, conversation: Conversation, history: History) -> list[Block]:
        signs = _unused_signs(conversation)
        text = self._text(conversation, history, signs, add_generation_prompt=True)
        return [tuple(self._pieces(signs.taken_out(text), False, signs))]

    def _sequence(self, conversation: Conversation, span: Span, history: History, signs: Signs) -> Block:
        """What precedes the span is read, not written, marked or not."""
        text = self._text(conversation.up_to(span.end), history, signs)
        read = self._text(conversation.up_to(span.start + 1), history, signs) if span.start else ""
        if not text.startswith(read):
            raise RenderError(
                "the template renders a user turn differently once it is answered, so the turns' sequences "
                "can't be told apart; use `history: keep`."
            )
        before, *written = text[len(read) :].split(signs.start)
        pieces = list(self._pieces(signs.taken_out(read) + before, False, signs))
        for stretch in written:
            output, end, after = stretch.partition(signs.end)
            if not end or signs.end in after:
                raise RenderError("the template's {% generation %} marks overlap.")
            pieces += self._pieces(output, True, signs)
            pieces += self._pieces(after, False, signs)
        answered = any(message.role == "assistant" for message in conversation.messages[span.start : span.end])
        if answered and not any(piece.supervised and piece.text for piece in pieces):
            raise RenderError("the template marks none of the assistant's turns with {% generation %}.")
        return tuple(pieces)

    def _text(
        self, conversation: Conversation, history: History, signs: Signs, add_generation_prompt: bool = False
    ) -> str:
        messages = [_plain(message) for message in conversation.messages]
        if (last_user := conversation.last_user()) >= 0:
            messages[last_user]["content"] += budget_flag(conversation)
        tools = [tool.model_dump(mode="json") for tool in conversation.tools]
        options = {
            "enable_thinking": conversation.thinking,
            "low_effort": conversation.low_effort,
            "truncate_history_thinking": history == "truncate",
            "add_generation_prompt": add_generation_prompt,
        }
        seen = self._guarded(messages, signs.guard), self._guarded(tools, signs.guard)
        try:
            text = _render(self.marked, *seen, options | {"output_starts": signs.start, "output_ends": signs.end})
            unmarked = _render(self.source, *seen, options)
        except TemplateSyntaxError as error:
            raise ConfigError(f"template: line {error.lineno}: {error.message}.") from None
        except Exception as error:  # a template is the user's program: it may fail in any way
            raise RenderError(f"the template fails on the conversation: {error}.") from None
        if signs.taken_out(text) != unmarked:
            raise RenderError("the template changes text that it marks with {% generation %}, such as by trimming it.")
        return text

    def _guarded(self, value: Any, guard: str) -> Any:
        """`value` with the guard after the first character of each control token's text."""
        match value:
            case str():
                return self.control.sub(lambda found: found[0][0] + guard + found[0][1:], value)
            case list():
                return [self._guarded(item, guard) for item in value]
            case dict():
                return {self._guarded(key, guard): self._guarded(item, guard) for key, item in value.items()}
        return value

    def _pieces(self, text: str, supervised: bool, signs: Signs) -> Iterator[Piece]:
        position = 0
        for found in self.control.finditer(text):
            yield Piece(text[position : found.start()].replace(signs.guard, ""), supervised)
            yield Piece(found[0], supervised, control=True)
            position = found.end()
        yield Piece(text[position:].replace(signs.guard, ""), supervised)


def _with_signs(source: str) -> str:
    """`source` with a sign on either side of what is marked, and the same white space as before."""
    opened = MARK_START.sub(r"{%\1 generation -%}{{ output_starts }}{%- if true \2%}", source)
    return MARK_END.sub(r"{%\1 endif -%}{{ output_ends }}{%- endgeneration \2%}", opened)


def _plain(message: Message) -> dict[str, Any]:
    """The message as hub templates expect it: in OpenAI's shape, but with a call's arguments as a mapping."""
    plain: dict[str, Any] = message.to_openai()
    for given, call in zip(plain.get("tool_calls", []), message.tool_calls, strict=True):
        given["function"]["arguments"] = arguments(call)
    return plain


def _strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list():
            for item in value:
                yield from _strings(item)
        case dict():
            yield from _strings([*value.keys(), *value.values()])


def _unused_signs(conversation: Conversation) -> Signs:
    values = [*map(_plain, conversation.messages), *(tool.model_dump() for tool in conversation.tools)]
    text = "".join(_strings(values))
    unused = [noncharacter for noncharacter in NONCHARACTERS if noncharacter not in text]
    if len(unused) < 3:
        raise RenderError("the conversation holds nearly every noncharacter from U+FDD0 to U+FDEF.")
    return Signs(unused[0], unused[1], unused[2])


def _render(source: str, messages: list[Any], tools: list[Any], options: dict[str, Any]) -> str:
    from transformers.utils.chat_template_utils import render_jinja_template

    rendered = render_jinja_template(conversations=[messages], tools=tools or None, chat_template=source, **options)
    return str(rendered[0][0])
