"""What the model writes: a few held-out prompts of each category, answered greedily before and after each stage."""

from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest

from gristmill.render import ChatTokenizer
from schemas import Data
from sft.documents import Document
from sft.generate import Request, generate
from sft.heldout import prompt_of
from sft.model import CausalLM
from sft.sharding import divided
from sft.world import World

PER_CATEGORY = 2
MOST = 12
SHOWN = 4000  # characters of a prompt, its last ones


class Sample(Data):
    """A held-out conversation's last prompt, as the model reads it, and what stands there after it."""

    uuid: str
    category: str
    reasoning: str
    prompt: str
    reference: str


def choose(documents: Iterable[Document]) -> list[Document]:
    """The first of each category, then the second of each, at most `MOST` in all; in the order of their categories."""
    by_category: dict[str, list[Document]] = {}
    for document in documents:
        by_category.setdefault(document.category, []).append(document)
    rounds = zip_longest(*(alike[:PER_CATEGORY] for _, alike in sorted(by_category.items())))
    chosen = [document for document in chain.from_iterable(rounds) if document is not None][:MOST]
    return sorted(chosen, key=lambda document: document.category)


def describe(document: Document, tokenizer: ChatTokenizer) -> Sample:
    prompt = prompt_of(document)
    text = tokenizer.decode(prompt)
    return Sample(
        uuid=document.uuid,
        category=document.category,
        reasoning=document.reasoning,
        prompt=text if len(text) <= SHOWN else f"… {text[-SHOWN:]}",
        reference=_text(document.input_ids[len(prompt) :].tolist(), tokenizer),
    )


def write_answers(
    model: CausalLM, documents: Sequence[Document], tokenizer: ChatTokenizer, max_tokens: int, world: World
) -> list[str]:
    """The model's answers; one that reaches `max_tokens` ends with an ellipsis. Each rank writes its share of them."""
    requests = [Request(prompt_of(document)) for document in documents]
    answers = divided(model, world, requests, lambda own: generate(model, own, tokenizer.eos_id, 0.0, max_tokens))
    return [_text(ids, tokenizer) for ids in answers]


def _text(ids: Sequence[int], tokenizer: ChatTokenizer) -> str:
    """Up to the end of the turn."""
    if tokenizer.eos_id in ids:
        return tokenizer.decode(ids[: ids.index(tokenizer.eos_id)])
    return f"{tokenizer.decode(ids)} …"
