"""What a chat template makes of a conversation, before any tokenizer: sequences of blocks of pieces.

A *piece* is a stretch of text that the model either writes (supervised) or reads, and that is either a control token of
the chat format or plain text. A *block* is one turn. Text inside a block never runs on into the next one, so a block is
tokenised once, however many sequences it stands in. The reply "4" to "2+2?" in ChatML, supervised text in brackets:

    <|im_start|>|user\\n2+2?|<|im_end|>|\\n        <|im_start|>|assistant\\n|<think>|</think>|[4]|[<|im_end|>]|\\n
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal, NamedTuple, Protocol, Self

from gristmill.errors import GristmillError
from schemas import Message, Record, Tool

History = Literal["truncate", "keep"]


class RenderError(GristmillError):
    """A conversation that can't be rendered: what is wrong with it."""


class Piece(NamedTuple):
    text: str
    supervised: bool = False
    control: bool = False


Block = tuple[Piece, ...]


class Conversation(NamedTuple):
    """What a template sees of a record."""

    messages: list[Message]
    tools: list[Tool]
    thinking: bool  # False: the generation prompt asks for an answer without a trace
    low_effort: bool
    thinking_budget: int | None  # tokens; a flag in the last user turn

    @classmethod
    def of(cls, record: Record) -> Self:
        """The record's conversation; traces of a reasoning-off record are left out, as are blank ones."""
        off = record.reasoning == "off"
        messages = [m if has_trace(m) and not off else _without_trace(m) for m in record.messages]
        budget = record.metadata.get("thinking_budget")
        if budget is not None and (not isinstance(budget, int) or isinstance(budget, bool) or budget < 0):
            raise RenderError(f"metadata.thinking_budget is a number of tokens, not {budget!r}.")
        return cls(messages, record.tools, not off, record.reasoning == "low", budget)

    def up_to(self, end: int) -> Self:
        """The same conversation with only its first `end` messages."""
        return self._replace(messages=self.messages[:end])

    def last_user(self) -> int:
        """The index of the last user message, -1 where there is none."""
        return max((i for i, message in enumerate(self.messages) if message.role == "user"), default=-1)


def has_trace(message: Message) -> bool:
    return message.role == "assistant" and bool(message.reasoning_content and message.reasoning_content.strip())


def budget_flag(conversation: Conversation) -> str:
    """What the last user turn ends with where the trace has a budget."""
    budget = conversation.thinking_budget
    return f"\n\n{{thinking budget: {budget} tokens}}" if budget is not None else ""


def _without_trace(message: Message) -> Message:
    return message.model_copy(update={"reasoning_content": None}) if message.reasoning_content else message


class Span(NamedTuple):
    """One sequence of a conversation: its messages before `end`, of which those from `start` on are supervised."""

    start: int
    end: int


def spans(conversation: Conversation, history: History) -> Iterator[Span]:
    """How a conversation becomes sequences, so that each assistant turn is supervised in exactly one of them.

    A template that truncates history shows no trace from before the last user message. So a conversation with such
    traces becomes one sequence per user message (and one for a greeting before the first): it ends before the next user
    message and supervises what answers this one. Any other conversation is one sequence.
    """
    messages = conversation.messages
    if history == "keep" or not any(map(has_trace, messages[: max(conversation.last_user(), 0)])):
        yield Span(0, len(messages))
        return
    users = [i for i, message in enumerate(messages) if message.role == "user"]
    for start, end in pairwise([0, *users, len(messages)]):
        if any(message.role == "assistant" for message in messages[start:end]):
            yield Span(start, end)


class Template(Protocol):
    """A chat template. `source` is its Jinja text, which is saved beside the tokenizer; `required` are control tokens
    that the tokenizer must have."""

    source: str
    required: tuple[str, ...]

    def sequences(self, conversation: Conversation, history: History) -> list[list[Block]]:
        """The blocks of each sequence (see `spans`); RenderError where the conversation can't be rendered."""

    def prompt(self, conversation: Conversation, history: History) -> list[Block]:
        """The blocks up to where the model writes its next turn; nothing in them is supervised."""
