"""Chat templates, loss masks and tokenizers: from a record to token ids and the exact spans that the model writes."""

from collections.abc import Iterable
from pathlib import Path

from gristmill.errors import ConfigError
from gristmill.render.encoder import TokenIds
from gristmill.render.jinja import MARK_START, JinjaTemplate
from gristmill.render.nemotron3 import Nemotron3
from gristmill.render.pieces import History, RenderError, Template
from gristmill.render.renderer import Mask, Renderer, TokenCount, TokenSequence, plain_texts
from gristmill.render.tokenizers import SPECIAL_TOKENS, ChatTokenizer, from_folder, load_tokenizer
from schemas import Record

__all__ = [
    "ChatTokenizer",
    "History",
    "Mask",
    "RenderError",
    "Renderer",
    "Template",
    "TokenCount",
    "TokenIds",
    "TokenSequence",
    "checkpoint_renderer",
    "from_folder",
    "load_renderer",
    "load_template",
    "renderer_for",
]


def load_renderer(
    tokenizer: str, template: str, history: History = "truncate", corpus: Iterable[Record] = ()
) -> Renderer:
    """A renderer by the config's words. `corpus` is what `train:N` learns from; it is read only there."""
    texts = plain_texts(load_template(template), corpus)
    return renderer_for(load_tokenizer(tokenizer, texts), template, history)


def renderer_for(tokenizer: ChatTokenizer, template: str, history: History = "truncate") -> Renderer:
    return Renderer(tokenizer, load_template(template, tokenizer), history)


def checkpoint_renderer(folder: Path) -> Renderer:
    """That of a checkpoint, by the tokenizer and the template beside its weights; a template that doesn't mark what the
    assistant writes is none that a checkpoint was trained with here, and `nemotron3` stands in for it."""
    saved = folder / "chat_template.jinja"
    source = saved.read_text(encoding="utf-8") if saved.is_file() else ""
    is_other = MARK_START.search(source) and source != Nemotron3().source
    return renderer_for(from_folder(folder), str(saved) if is_other else "nemotron3")


def load_template(name: str, tokenizer: ChatTokenizer | None = None) -> Template:
    """`nemotron3`, or the Jinja file at that path. Without a tokenizer, the control tokens are those of `train:N`."""
    if name == "nemotron3":
        return Nemotron3()
    try:
        source = Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"template: {name} is neither nemotron3 nor a readable Jinja file: {error}.") from None
    return JinjaTemplate(source, tokenizer.control_tokens(source) if tokenizer else SPECIAL_TOKENS)
