"""What is measured on conversations held out: losses in nats, and the prompts that MTP acceptance is measured on."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from gristmill.errors import ConfigError
from gristmill.render import Renderer, checkpoint_renderer
from schemas import Data
from sft.batches import batch_of, longest_first, micro_batches, trainable
from sft.documents import Document, read_records, render_documents
from sft.loss import target_losses
from sft.model import CausalLM, load_model, trunk_states, vocabulary_of
from sft.sharding import divided
from sft.sources import Sources
from sft.world import World

LONGEST = 16_384  # tokens of a conversation that `losses_of` takes, and of a forward pass


def valid_documents(blend: Path, renderer: Renderer, longest: int) -> list[Document]:
    """The conversations of a blend's valid split that have output and at most `longest` tokens."""
    unreadable: dict[str, str] = {}  # prep lists them
    records = read_records(blend / "valid", unreadable)
    rendered = render_documents(renderer, records, unreadable)
    sources = Sources.of(blend, "valid")
    kept = trainable(document for document in rendered if len(document.input_ids) <= longest)
    return [document._replace(source=sources.source(document.uuid)) for document in kept]


class HeldOut(Data):
    """Main-head losses on held-out conversations, in nats per supervised token."""

    conversations: int
    tokens: int
    per_token: float
    per_conversation: float  # mean of each conversation's mean
    per_conversation_shortest_third: float  # the same on the third with the fewest supervised tokens
    by_category: dict[str, float]  # per token; {} where all are of one, as below
    by_reasoning: dict[str, float]
    by_source: dict[str, float] = {}


class ConversationLoss(NamedTuple):
    targets: int
    loss: float  # summed over its targets


def held_out(model: CausalLM, documents: Iterable[Document], tokens_at_once: int, world: World) -> HeldOut:
    """Measured over `documents`, at least one, which all have supervised tokens; each rank takes its share of them."""
    ordered = longest_first(documents)
    losses = divided(model, world, ordered, partial(_losses, model, tokens_at_once))
    each = sorted(losses)
    return HeldOut(
        conversations=len(each),
        tokens=sum(one.targets for one in each),
        per_token=_per_token(each),
        per_conversation=_mean_of_means(each),
        per_conversation_shortest_third=_mean_of_means(each[: math.ceil(len(each) / 3)]),
        by_category=_by("category", ordered, losses),
        by_reasoning=_by("reasoning", ordered, losses),
        by_source=_by("source", ordered, losses),
    )


def _by(
    part: Literal["category", "reasoning", "source"], documents: Sequence[Document], losses: Sequence[ConversationLoss]
) -> dict[str, float]:
    """Per token, by a part of what the documents are; {} where it is the same of all."""
    groups: dict[str, list[ConversationLoss]] = {}
    for document, loss in zip(documents, losses, strict=True):
        groups.setdefault(getattr(document, part), []).append(loss)
    return {name: _per_token(each) for name, each in sorted(groups.items())} if len(groups) > 1 else {}


def _per_token(each: Sequence[ConversationLoss]) -> float:
    return sum(one.loss for one in each) / sum(one.targets for one in each)


@torch.no_grad()
def _losses(model: CausalLM, tokens_at_once: int, documents: Sequence[Document]) -> list[ConversationLoss]:
    """Of documents that stand the longest first."""
    model.eval()
    each: list[ConversationLoss] = []
    for held in micro_batches(documents, tokens_at_once):
        batch = batch_of(held).to(model.device)
        at = batch.loss_mask.nonzero(as_tuple=True)
        states = trunk_states(model, batch.input_ids)
        losses = target_losses(model.get_output_embeddings(), states[at], batch.ahead(batch.input_ids, 1)[at])
        sums = torch.zeros(len(held), dtype=torch.float64, device=losses.device)
        sums.index_add_(0, at[0], losses.double())
        each += map(ConversationLoss, batch.loss_mask.sum(dim=1).tolist(), sums.tolist())
    return each


def _mean_of_means(conversations: Sequence[ConversationLoss]) -> float:
    return sum(one.loss / one.targets for one in conversations) / len(conversations)


def losses_of(checkpoint: Path, blend: Path) -> HeldOut:
    """Those of a checkpoint's folder on a blend's valid split; ConfigError where that has no conversation to use."""
    renderer = checkpoint_renderer(checkpoint)
    documents = valid_documents(blend, renderer, LONGEST)
    if not documents:
        raise ConfigError(f"held_out: no conversation of {blend}/valid has output and at most {LONGEST:,} tokens.")
    model, _ = load_model(str(checkpoint), vocabulary_of(renderer.tokenizer), seed=0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return held_out(model.to(device), documents, LONGEST, World(0, 1, device))


def unigram_entropy(documents: Iterable[Document]) -> float:
    """The entropy, in nats, of the supervised tokens' own distribution: the best loss without any context."""
    seen: Counter[int] = Counter()
    for document in documents:
        seen.update(document.input_ids[1:][document.loss_mask[:-1].astype(np.bool_)].tolist())
    total = sum(seen.values())
    return -sum(n / total * math.log(n / total) for n in seen.values())


def prompt_of(document: Document) -> list[int]:
    """The document up to where its last supervised span begins."""
    supervised = np.flatnonzero(document.loss_mask)
    breaks = np.flatnonzero(np.diff(supervised) > 1)
    start = supervised[breaks[-1] + 1] if len(breaks) else supervised[0]
    prompt: list[int] = document.input_ids[: int(start) + 1].tolist()
    return prompt
