"""A stage's own responses as its data: the preceding checkpoint answers prompts, and the answers become packs.

The tokens are kept as the model wrote them, never rendered again. Source: Nemotron 3 Super report, section 3.1 (MTP
healing on the model's own responses; budget control, where some traces are cut at a random budget).
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gristmill.commands.judge import records_in
from gristmill.errors import ConfigError
from gristmill.render import Renderer, RenderError, TokenIds
from gristmill.render.nemotron3 import END_THINK
from gristmill.runs import write_atomically
from gristmill.seeds import BadSeed
from schemas import Record
from schemas.sft_config import Rollouts, Stage
from sft.documents import Document, next_token_mask, read_records
from sft.generate import Request, generate
from sft.model import CausalLM
from sft.packing import PackSummary, write_packs
from sft.sharding import divided
from sft.world import World

ANSWERS_AT_ONCE = 256  # per rank, between two exchanges


class RolloutSummary(PackSummary):
    """`unusable` prompts can't be read or rendered, or leave no room for an answer; `unfinished` answers reached
    `max_tokens`; `cut` ones lost the end of their trace."""

    prompts: int = 0
    unusable: int = 0
    unfinished: int = 0
    cut: int = 0


class Job(NamedTuple):
    """One answer to write: the prompt's record and ids, and what seeds the draws made for it."""

    uuid: str
    prompt: TokenIds
    stream: tuple[int, ...]


def write_rollouts(
    model: CausalLM,
    wanted: Rollouts,
    renderer: Renderer,
    folder: Path,
    pack_tokens: int,
    seed: tuple[int, int],
    world: World,
    watch: Callable[[int, int], None],
) -> None:
    """Packs of the model's answers in `folder`, which appears all at once. Each rank answers its share of the prompts,
    the first one writes. `watch` is told of answers done and to do. ConfigError where no prompt is usable, or no answer
    fits into a pack with its prompt."""
    summary = RolloutSummary()
    jobs = list(_jobs(wanted, renderer, pack_tokens, seed, summary))
    documents = _documents(model, jobs, wanted, renderer, world, summary, watch)
    if not world.leads:
        for _ in documents:
            pass
        return
    draft = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    packed = write_packs(documents, draft, pack_tokens=pack_tokens, seed=seed[0])
    if packed.packs == 0:
        raise ConfigError(
            f"data.rollouts: none of the {len(jobs):,} answers fits, with its prompt, into a pack of {pack_tokens:,} "
            "tokens (pack_tokens); raise that."
        )
    write_atomically(draft / "summary.json", summary.model_copy(update=dict(packed)).to_json() + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)


def check_prompts(stage: Stage, renderer: Renderer, pack_tokens: int) -> None:
    """ConfigError where a stage's roll-outs can't be made of its prompts; asked long before they are."""
    wanted = stage.data.rollouts
    if wanted is None:
        return
    path = wanted.prompts
    if not (any((path / "train").glob("*.parquet")) if path.is_dir() else path.is_file()):
        where = f"stages.{stage.name}.data.rollouts.prompts"
        raise ConfigError(f"{where}: {path} is neither a blend's folder nor a .jsonl or .parquet file.")
    for _ in _jobs(wanted, renderer, pack_tokens, (0, 0), RolloutSummary()):
        pass
    if wanted.truncate:
        renderer.tokenizer.id(END_THINK)  # where a trace that is cut goes on


def read_rollouts(folder: Path) -> RolloutSummary | None:
    """What `write_rollouts` said of the folder; None where there is none."""
    path = folder / "summary.json"
    return RolloutSummary.from_json(path.read_bytes()) if path.exists() else None


def _jobs(
    wanted: Rollouts, renderer: Renderer, pack_tokens: int, seed: tuple[int, int], summary: RolloutSummary
) -> Iterator[Job]:
    unreadable: dict[str, str] = {}
    for record in _records(wanted.prompts, unreadable):
        last = max((i for i, message in enumerate(record.messages) if message.role == "user"), default=-1)
        summary.prompts += 1
        try:
            prompt = renderer.prompt(record.model_copy(update={"messages": record.messages[: last + 1]}))
        except RenderError:
            summary.unusable += 1
            continue
        if len(prompt) >= pack_tokens:
            summary.unusable += 1
            continue
        yield from (Job(record.uuid, prompt, (*seed, summary.prompts, sample)) for sample in range(wanted.n))
    summary.prompts += len(unreadable)
    summary.unusable += len(unreadable)
    if summary.prompts == summary.unusable:
        raise ConfigError(f"data.rollouts.prompts: {wanted.prompts} holds no usable prompt (of {summary.prompts}).")


def _records(path: Path, unreadable: dict[str, str]) -> Iterator[Record]:
    """Those of a blend's train split, or of a .jsonl or .parquet file. Why a row of a blend can't be read goes to
    `unreadable`, by uuid; of a file it is a ConfigError."""
    if path.is_dir():
        yield from read_records(path / "train", unreadable)
        return
    for found in records_in([path]):
        if isinstance(found, BadSeed):
            raise ConfigError(f"data.rollouts.prompts: {path}, {found.where}: {found.detail}.")
        yield found


def _documents(
    model: CausalLM,
    jobs: Sequence[Job],
    wanted: Rollouts,
    renderer: Renderer,
    world: World,
    summary: RolloutSummary,
    watch: Callable[[int, int], None],
) -> Iterator[Document]:
    """Prompt and answer as one document whose answer is supervised, in the order of the jobs."""
    end = renderer.tokenizer.eos_id
    at_once = ANSWERS_AT_ONCE * world.size
    drafts = wanted.drafts if world.size == 1 else 0  # Mamba's states are mended between passes: by whole weights

    def write(asked: Sequence[Request]) -> list[list[int]]:
        return generate(model, asked, end, wanted.temperature, wanted.max_tokens, drafts)

    for first in range(0, len(jobs), at_once):
        chunk = jobs[first : first + at_once]
        requests = [Request(job.prompt.tolist(), (*job.stream, 0)) for job in chunk]
        answers = divided(model, world, requests, write)
        for job, answer in zip(chunk, answers, strict=True):
            summary.unfinished += answer[-1] != end
            rng = np.random.default_rng((*job.stream, 1))
            if rng.random() < wanted.truncate:
                whole, answer = answer, cut_trace(answer, renderer.tokenizer.id(END_THINK), rng)
                summary.cut += len(answer) < len(whole)
            supervised = np.repeat(np.array([0, 1], np.uint8), [len(job.prompt), len(answer)])
            ids = np.concatenate([job.prompt, np.array(answer, np.int32)])
            yield Document(job.uuid, ids, next_token_mask(supervised))
        watch(first + len(chunk), len(jobs))


def cut_trace(answer: Sequence[int], end_think: int, rng: np.random.Generator) -> list[int]:
    """The answer with its trace cut at a random budget of tokens: thinking ends early and the same reply follows.

    Unchanged where it has no closed trace of at least two tokens.
    """
    closing = answer.index(end_think) if end_think in answer else 0
    if closing < 2:
        return list(answer)
    return [*answer[: int(rng.integers(1, closing))], *answer[closing:]]
