"""`gristmill prep CONFIG --show UUID`: a conversation's tokens and which of them are supervised.

On a terminal the supervised ones are green. Elsewhere, and where NO_COLOR is set, bars stand between tokens, and double
brackets around what is supervised:

    <|im_start|>|user|⏎|2|+|2|?|<|im_end|>|⏎|<|im_start|>|assistant|⏎|<think>|</think>|⟦4|<|im_end|>⟧|⏎
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pyarrow.compute as pc
from rich.console import Console
from rich.text import Text

from gristmill.errors import ConfigError
from gristmill.render import ChatTokenizer, Renderer, RenderError, TokenSequence
from schemas import Record
from sft.documents import parquet_files, read_batches, records_of

# Control characters, which a terminal would obey, as their pictures.
VISIBLE = {
    **{code: chr(0x2400 + code) for code in range(32)},
    **{code: f"\\x{code:02x}" for code in range(0x7F, 0xA0)},
    ord("\n"): "⏎\n",
}
STYLES = {True: ("black on green", "black on bright_green"), False: ("white on grey23", "white on grey35")}


class Found(NamedTuple):
    place: str  # the split's folder
    record: Record


def find_record(blends: Iterable[Path], uuid: str) -> Found:
    """The conversation whose uuid begins like this; ConfigError where there is none, or more than one."""
    found: dict[str, Found] = {}
    for split in dict.fromkeys(blend / name for blend in blends for name in ("train", "valid")):
        for batch in read_batches(split) if parquet_files(split) else ():
            rows = batch.filter(pc.starts_with(batch.column("uuid"), uuid))
            unreadable: dict[str, str] = {}
            found |= {record.uuid: Found(str(split), record) for record in records_of(rows, unreadable)}
            if unreadable:
                raise ConfigError("--show: {} can't be read: {}".format(*next(iter(unreadable.items()))))
    if len(found) != 1:
        several = f"{len(found)} conversations begin like that ({', '.join(list(found)[:3])} ...)"
        raise ConfigError(f"--show: {several if found else 'no conversation'} for uuid {uuid} in the blend.")
    return next(iter(found.values()))


def show_record(console: Console, renderer: Renderer, found: Found, pack_tokens: int) -> None:
    record = found.record
    console.print(f"{record.uuid} in {found.place}: {record.category}, reasoning {record.reasoning}", style="bold")
    (sequences,) = renderer.render([record])
    if isinstance(sequences, RenderError):
        raise ConfigError(f"--show: {record.uuid} can't be rendered: {sequences}")
    for number, sequence in enumerate(sequences, 1):
        tokens, supervised = len(sequence.ids), int(sequence.supervised.sum())
        too_long = f", longer than a pack of {pack_tokens:,}" if tokens > pack_tokens else ""
        console.print(
            f"\nsequence {number} of {len(sequences)}: {tokens:,} tokens, {supervised:,} supervised{too_long}"
        )
        coloured = console.color_system is not None and not console.no_color
        text = in_colour(renderer.tokenizer, sequence) if coloured else Text(in_brackets(renderer.tokenizer, sequence))
        console.print(text, soft_wrap=True)


def in_colour(tokenizer: ChatTokenizer, sequence: TokenSequence) -> Text:
    text = Text()
    for number, (supervised, token) in enumerate(_tokens(tokenizer, sequence)):
        text.append(token.translate(VISIBLE), STYLES[supervised][number % 2])
    return text


def in_brackets(tokenizer: ChatTokenizer, sequence: TokenSequence) -> str:
    stretches = groupby(_tokens(tokenizer, sequence), lambda pair: pair[0])
    texts = [("|".join(token for _, token in pairs), supervised) for supervised, pairs in stretches]
    return "|".join(f"⟦{text}⟧" if supervised else text for text, supervised in texts).translate(VISIBLE)


def _tokens(tokenizer: ChatTokenizer, sequence: TokenSequence) -> Iterator[tuple[bool, str]]:
    """(supervised, text) of each token; of several together, where a character is spread over them."""
    waiting: list[int] = []
    pairs = list(zip(sequence.supervised.astype(bool).tolist(), sequence.ids.tolist(), strict=True))
    for place, (supervised, token) in enumerate(pairs):
        waiting.append(token)
        text = tokenizer.decode(waiting)
        turning = place + 1 == len(pairs) or pairs[place + 1][0] != supervised
        if turning or not text.endswith("\ufffd"):
            yield supervised, text
            waiting = []
