"""Text to token ids, no text ever becoming a control token: by `fastokens` where it can, else by `tokenizers`.

`fastokens` is about twenty times as fast, on one core some 60 MB of text a second. That it gives the same ids is
checked: on texts made to differ, when a tokenizer is loaded, and on the beginning of one text of every batch.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from gristmill.errors import ConfigError, GristmillError

try:
    import fastokens
except ImportError:  # no wheel for this machine
    fastokens = None

TokenIds: TypeAlias = NDArray[np.int32]

BATCH_CHARACTERS = 2_000_000  # per call of a tokenizer; `tokenizers` needs some 100 bytes a token
CHECKED_CHARACTERS = 500
# Where tokenizers differ: blanks, digits, contractions, case, composition, other scripts, joined emoji, odd controls.
PROBES = (
    "",
    " ",
    "  a\n\n b \r\n\t\tc\u00a0\u3000\u2028d  ",
    "I'll DON'T we'Ve 'S ſ's",
    "1 12 123 1234567 3.14e-10 ٣٤ Ⅷ²½",
    "é e\u0301 각 \u1100\u1161\u11a8 Ω\u2126 ﬁ İı ß Å",
    "naïve Grüße, 世界。日本語テキスト 한국어 עברית العربية हिन्दी ไทย",
    "👩\u200d👩\u200d👧 🏳️\u200d🌈 🙂🙂",
    "def f(x):\n    return {'a': x[0]}  # ==\n\n\n",
    "\x00\x07\x1b\u200b\ufeff\ufdd0\U0010ffff",
    "_snake__CamelCase-kebab/path\\x ...!!!???---<<<>>>",
)


class Encoder:
    """Encodes with `tokenizer`, but takes the texts of the tokens in `control` for text.

    ConfigError where the tokenizer can't cut text into pieces, or can't tell a control token from its text.
    """

    def __init__(self, tokenizer: Tokenizer, control: Mapping[str, int]) -> None:
        self.exact = _literal(tokenizer, control)
        self.fast = _fast(self.exact, [*PROBES, *control])

    @property
    def is_fast(self) -> bool:
        return self.fast is not None

    def __call__(self, texts: Sequence[str]) -> Iterator[TokenIds]:
        """The ids of each text."""
        for batch in _batches(texts):
            if self.fast is None:
                yield from _exactly(self.exact, batch)
                continue
            beginning = batch[0][:CHECKED_CHARACTERS]
            if not _agree(self.exact, self.fast, [beginning]):
                raise GristmillError(
                    f"fastokens and tokenizers give different tokens for {beginning!r}; uninstall fastokens, and the "
                    "slower one is used."
                )
            yield from _fastly(self.fast, batch)


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    start = size = 0
    for end, text in enumerate(texts, 1):
        size += len(text)
        if size >= BATCH_CHARACTERS or end == len(texts):
            yield texts[start:end]
            start, size = end, 0


def _exactly(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[TokenIds]:
    for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False):
        yield np.array(encoding.ids, np.int32)


def _fastly(tokenizer: Any, texts: Sequence[str]) -> Iterator[TokenIds]:
    """All ids lie in one buffer, and no Python object is made for a token."""
    buffers = tokenizer.encode_batch_flat(list(texts), add_special_tokens=False, split_special_tokens=True)
    ids = np.frombuffer(buffers[0], np.int32)
    edges = np.frombuffer(buffers[1], np.uint64).tolist()
    for start, end in pairwise(edges):
        yield ids[start:end]


def _agree(exact: Tokenizer, fast: Any, texts: Sequence[str]) -> bool:
    pairs = zip(_exactly(exact, texts), _fastly(fast, texts), strict=True)
    return all(np.array_equal(left, right) for left, right in pairs)


def _fast(exact: Tokenizer, probes: Sequence[str]) -> Any:
    """The same tokenizer in fastokens; None where that doesn't know a part of it."""
    if fastokens is None:
        return None
    try:
        fast = fastokens.Tokenizer.from_json_str(exact.to_str())
    except ValueError:
        return None
    return fast if _agree(exact, fast, probes) else None


def _literal(tokenizer: Tokenizer, control: Mapping[str, int]) -> Tokenizer:
    """A copy that takes the control tokens' texts for text."""
    config = json.loads(tokenizer.to_str())
    for token in config["added_tokens"]:
        token["special"] = token["content"] in control
    literal = Tokenizer.from_str(json.dumps(config))
    literal.encode_special_tokens = True
    literal.no_truncation()
    literal.no_padding()
    halves = [literal.encode(half, add_special_tokens=False).ids for half in ("one\n", "two")]
    if literal.decode(halves[0] + halves[1], skip_special_tokens=False) != "one\ntwo":
        raise ConfigError(
            "the tokenizer changes text at its start (a space is put before it, say); use a byte-level one."
        )
    for text, token in control.items():
        if token in literal.encode(text, add_special_tokens=False).ids:
            raise ConfigError(f"the tokenizer can't tell the token {text} from the same text in a message.")
    return literal
