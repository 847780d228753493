"""From records to token ids and masks: a tokenizer and a template together.

Tokens never cross the edge of a piece, so a mask is exact by construction. Text pieces that follow each other with the
same flag are one text for the tokenizer, as they are at inference, where only control tokens (and the end of the
generation prompt) cut. Each text of a batch is tokenised once: the cost of a conversation is linear in its turns.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gristmill.errors import ConfigError
from gristmill.render.encoder import Encoder, TokenIds
from gristmill.render.pieces import Block, Conversation, History, Piece, RenderError, Template
from gristmill.render.tokenizers import ChatTokenizer
from schemas import Record

Mask: TypeAlias = NDArray[np.uint8]


class TokenSequence(NamedTuple):
    """`supervised[j]` is 1 where the model writes token j. Both have the sequence's length."""

    ids: TokenIds
    supervised: Mask


class TokenCount(NamedTuple):
    tokens: int
    supervised_tokens: int


class Renderer:
    """Renders records with one tokenizer, one template and one way to treat old traces."""

    def __init__(self, tokenizer: ChatTokenizer, template: Template, history: History = "truncate") -> None:
        self.tokenizer = tokenizer
        self.template = template
        self.history: History = history
        self.control = tokenizer.control_tokens(template.source)
        for token in template.required:
            if token not in self.control:
                raise ConfigError(f"the tokenizer has no special token {token}, which the template needs.")
        self._encode = Encoder(tokenizer.tokenizer, self.control)

    def __reduce__(self) -> tuple[type[Self], tuple[ChatTokenizer, Template, History]]:
        """For other processes, which make their own encoder."""
        return type(self), (self.tokenizer, self.template, self.history)

    def render(self, records: Iterable[Record]) -> list[list[TokenSequence] | RenderError]:
        """The sequences of each record, or why it can't be rendered. Give it batches of bounded size."""
        conversations = [self._blocks(record) for record in records]
        rendered = [sequences for sequences in conversations if not isinstance(sequences, RenderError)]
        tokens = self._tokens(block for sequences in rendered for blocks in sequences for block in blocks)
        return [
            sequences
            if isinstance(sequences, RenderError)
            else [_join([tokens[id(block)] for block in blocks]) for blocks in sequences]
            for sequences in conversations
        ]

    def count(self, records: Iterable[Record]) -> list[TokenCount | RenderError]:
        """Tokens of each record over all its sequences."""
        return [
            sequences
            if isinstance(sequences, RenderError)
            else TokenCount(sum(len(s.ids) for s in sequences), sum(int(s.supervised.sum()) for s in sequences))
            for sequences in self.render(records)
        ]

    def prompt(self, record: Record) -> TokenIds:
        """The ids up to where the model writes the record's next turn; RenderError where there is no such place."""
        if not record.messages or record.messages[-1].role == "assistant":
            raise RenderError("a prompt ends with a user's, a tool's or a system message.")
        blocks = self.template.prompt(Conversation.of(record), self.history)
        tokens = self._tokens(blocks)
        return _join([tokens[id(block)] for block in blocks]).ids

    def _blocks(self, record: Record) -> list[list[Block]] | RenderError:
        try:
            return self.template.sequences(Conversation.of(record), self.history)
        except RenderError as error:
            return error

    def _tokens(self, blocks: Iterable[Block]) -> dict[int, TokenSequence]:
        """The tokens of each block, by the block's id()."""
        merged = {key: _merge(block, self.control) for key, block in {id(block): block for block in blocks}.items()}
        texts = dict.fromkeys(piece.text for pieces in merged.values() for piece in pieces if not piece.control)
        literal = dict(zip(texts, self._encode(list(texts)), strict=True))
        control = {text: np.array([token], np.int32) for text, token in self.control.items()}
        return {
            key: _join([_flagged((control if p.control else literal)[p.text], p.supervised) for p in pieces])
            for key, pieces in merged.items()
        }


def plain_texts(template: Template, records: Iterable[Record]) -> Iterator[str]:
    """All text of the records' renderings but the control tokens: what a tokenizer is trained on."""
    for record in records:
        try:
            sequences = template.sequences(Conversation.of(record), "keep")
        except RenderError:
            continue  # listed when the record itself is rendered
        yield from (p.text for blocks in sequences for block in blocks for p in block if p.text and not p.control)


def _merge(block: Block, control: Mapping[str, int]) -> list[Piece]:
    """The block without empty pieces, neighbouring texts with the same flag joined. A control token that the tokenizer
    doesn't have is text."""
    pieces: list[Piece] = []
    for text, supervised, is_control in block:
        if is_control and text in control:
            pieces.append(Piece(text, supervised, True))
        elif pieces and not pieces[-1].control and pieces[-1].supervised == supervised:
            pieces[-1] = Piece(pieces[-1].text + text, supervised)
        elif text:
            pieces.append(Piece(text, supervised))
    return pieces


def _flagged(ids: TokenIds, supervised: bool) -> TokenSequence:
    return TokenSequence(ids, np.full(len(ids), supervised, np.uint8))


def _join(parts: list[TokenSequence]) -> TokenSequence:
    nothing = TokenSequence(np.empty(0, np.int32), np.empty(0, np.uint8))
    ids, masks = zip(nothing, *parts, strict=True)
    return TokenSequence(np.concatenate(ids), np.concatenate(masks))
