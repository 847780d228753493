"""The training run: one stage after another, measured after each. What it leaves in OUT:

    metrics.jsonl   a line per optimizer step          state/         what a resume needs
    stages/NAME/    a Hugging Face folder per stage    summary.json   report.html

It can be interrupted anywhere; run again, it ends with the same bytes as if it had not been.
"""

import hashlib
import math
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Protocol

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from gristmill.errors import ConfigError, GristmillError
from gristmill.render import Renderer
from schemas.sft_config import SFTConfig, Stage, Trained
from sft.acceptance import measure_acceptance
from sft.batches import PackFiles
from sft.changes import refuse_changes
from sft.heldout import held_out, prompt_of, unigram_entropy, valid_documents
from sft.kernels import check_loss_kernel, choose_kernels
from sft.metrics import MetricsLog, StepMetrics
from sft.model import CausalLM, check_context, computing, has_mtp, save_model, vocabulary_of
from sft.prep import StageData
from sft.report import Measured, StageResult, Summary, write_report
from sft.rollouts import check_prompts, read_rollouts, write_rollouts
from sft.samples import choose, describe, write_answers
from sft.sharding import load_shared, whole_weights
from sft.sources import NO_SOURCES, Sources
from sft.stages import Cursor, is_trained
from sft.state import Progress, load_optimizer, load_progress, load_weights, save_state, writing
from sft.step import StageTrainer
from sft.world import World

SAVE_SECONDS = 60.0
DRAFT_DEPTHS = 7
ACCEPTANCE_PROMPTS = 64
ACCEPTANCE_TOKENS = 128  # also of an answer that the report shows


class Display(Protocol):
    """What people see of a run."""

    def say(self, text: str) -> None:
        """A sentence."""

    def step(self, metrics: StepMetrics, done: int, total: int) -> None:
        """An optimizer step, and how many of its stage's are done."""

    def rows(self, label: str, done: int, total: int) -> None:
        """How many rows of something are done."""


class Training:
    """The run in OUT: its model, its data, and how far it has come."""

    def __init__(
        self,
        config: SFTConfig,
        renderer: Renderer,
        data: Mapping[str, StageData],
        world: World,
        display: Display,
        reset_optimizer: bool = False,
    ) -> None:
        self.config, self.renderer, self.world, self.display = config, renderer, world, display
        self._folders = {name: prepared.folder for name, prepared in data.items()}
        self._state = config.out / "state"
        keys = {name: prepared.summary.key for name, prepared in data.items()}
        resumed = load_progress(self._state)
        if resumed:
            refuse_changes(resumed, config, keys, reset_optimizer)
        self.progress = resumed or Progress()
        if reset_optimizer:
            self.progress.cursor, self.progress.frozen = Cursor(), None
        self.progress.config, self.progress.data = config.model_dump(mode="json"), keys
        self._valid = valid_documents(config.data.blend, renderer, config.data.pack_tokens)
        self._samples = choose(self._valid)
        for stage in config.stages[self.progress.stage :] if world.leads else ():
            check_prompts(stage, renderer, config.stage_data(stage).pack_tokens)
        self.shared, notes = load_shared(
            config.model, vocabulary_of(renderer.tokenizer), config.seed, world, config.precision
        )
        self.model: CausalLM = self.shared.model
        for name, prepared in data.items():
            check_context(self.model, prepared.summary.longest(), f"stages.{name}:")
        if config.activation_checkpointing:
            self.model.activation_checkpointing_enable()
        if resumed:
            load_weights(self._state, self.model)
            notes = [f"Resumed after step {resumed.step}."]
            if self.progress.frozen and len(self.progress.frozen) != world.size:
                self.progress.frozen = self._fingerprints(config.stages[resumed.stage])
        for note in notes:
            display.say(note)
        if not has_mtp(self.model) and any(stage.train == "mtp" for stage in config.stages):
            raise ConfigError(f"model.init: {config.model.init} has no MTP head, so no stage can have train: mtp.")
        check_loss_kernel(config.loss_kernel, self.model, world.device)
        self._kernels = choose_kernels(self.model, world.device, config.precision)
        display.say(self._kernels.told)

    def run(self) -> Summary:
        """Trains what is left of the run; KeyboardInterrupt, with the state saved, after a request to stop."""
        log = MetricsLog(self.config.out / "metrics.jsonl", self.progress.step) if self.world.leads else None
        if self.progress.step == 0:
            measure = partial(self._measured, of_new_model=self.config.model.init == "tiny")
            self.progress.start = self.shared.look(measure)
        with _stop_requests(self.display, self.world) as stop_requested:
            for index in range(self.progress.stage, len(self.config.stages)):
                self._run_stage(index, log, stop_requested)
                self._write_report()
                if self._any(stop_requested())[0]:
                    raise KeyboardInterrupt
        self._write_report()
        return self.summary()

    def _run_stage(self, index: int, log: MetricsLog | None, stop_requested: Callable[[], bool]) -> None:
        stage, progress = self.config.stages[index], self.progress
        blend = self.config.stage_data(stage).blend
        packs = PackFiles(self._packs(index), NO_SOURCES if stage.data.rollouts else Sources.of(blend, "train"))
        trainer = StageTrainer(self.shared, self.config, index, packs, self.world, self._kernels.flat)
        if progress.cursor.step > 0:
            load_optimizer(self._state, self.model, trainer.optimizer, self.world)
        else:
            torch.manual_seed(self.config.seed + index)
            progress.frozen = self._fingerprints(stage) if stage.train != "all" else None
        saved = time.monotonic()
        while progress.cursor.step < trainer.plan.steps:
            progress.cursor, metrics = trainer.step(progress.cursor, progress.step + 1)
            progress.step += 1
            if log:
                log.append(metrics)
            self.display.step(metrics, progress.cursor.step, trainer.plan.steps)
            stop, due = self._any(stop_requested(), time.monotonic() - saved > SAVE_SECONDS)
            if stop or due:
                self._save(trainer.optimizer)
                saved = time.monotonic()
            if stop:
                raise KeyboardInterrupt
        self._save(trainer.optimizer)
        trainer.close()
        self._finish_stage(index)

    def _any(self, *flags: bool) -> list[bool]:
        """Of each, whether it is set on any rank."""
        return [count > 0 for count in self.world.sum(*flags)]

    def _packs(self, index: int) -> Path:
        """The folder of a stage's packs. Roll-outs are written here, by the model as the preceding stage left it."""
        stage = self.config.stages[index]
        if stage.data.rollouts is None:
            return self._folders[stage.name]
        folder = self.config.out / "data" / stage.name
        if self.progress.cursor.step == 0:
            self.display.say(f"{stage.name}: the model answers the prompts of {stage.data.rollouts.prompts}.")
            self.model.eval()
            write = partial(
                write_rollouts,
                self.model,
                stage.data.rollouts,
                self.renderer,
                folder,
                self.config.stage_data(stage).pack_tokens,
                (self.config.seed, index),
                self.world,
                lambda done, total: self.display.rows(f"{stage.name}: answers", done, total),
            )
            with computing(self.config.precision, self.world.device):
                self.shared.look(write)
            self.world.wait()
        return folder

    def _finish_stage(self, index: int) -> None:
        """Measures, writes OUT/stages/NAME and moves on to the next stage."""
        stage, progress = self.config.stages[index], self.progress
        if progress.frozen and progress.frozen != self._fingerprints(stage):
            raise GristmillError(f"{stage.name}: a weight that isn't trained has changed; this is a bug, report it.")
        measured = self.shared.look(self._measured)
        result = StageResult(
            name=stage.name,
            loss=stage.loss if stage.train != "mtp" else None,
            train=stage.train,
            packs=progress.cursor.packs,
            conversations=progress.cursor.conversations,
            steps=progress.cursor.step,
            held_out=measured.held_out,
            acceptance=measured.acceptance,
            answers=measured.answers,
            rollouts=read_rollouts(self.config.out / "data" / stage.name) if stage.data.rollouts else None,
        )
        self._write_stage(stage)
        progress.results.append(result)
        progress.stage, progress.cursor, progress.frozen = index + 1, Cursor(), None
        self._save(None)
        self.display.say(result.line())

    def _fingerprints(self, stage: Stage) -> list[str]:
        """Of what the stage leaves alone, by rank."""
        return self.world.gather(fingerprint(self.model, stage.train))

    def _write_stage(self, stage: Stage) -> None:
        whole = whole_weights(self.model)
        if not self.world.leads:
            return
        folder = self.config.out / "stages" / stage.name
        draft = folder.with_name(f".{stage.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        with writing(draft):
            save_model(self.model, draft, self.config.precision, whole)
        if stage.train == "lora":
            from sft.lora import save_adapter

            save_adapter(self.model, whole, draft / "adapter", self.config.model.init)
        self.renderer.tokenizer.save(draft, self.renderer.template.source)
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)

    def _measured(self, of_new_model: bool = False) -> Measured:
        """On the valid split, which no stage sees; what a new model writes and drafts is not worth a look."""
        self.model.eval()
        losses = acceptance = None
        answers: list[str] = []
        with computing(self.config.precision, self.world.device):
            if self._valid:
                losses = held_out(self.model, self._valid, self.config.data.pack_tokens, self.world)
            if self._valid and has_mtp(self.model) and not of_new_model:
                every = math.ceil(len(self._valid) / ACCEPTANCE_PROMPTS)
                prompts = [prompt_of(document) for document in self._valid[::every]]
                end = self.renderer.tokenizer.eos_id
                acceptance = measure_acceptance(self.model, prompts, end, ACCEPTANCE_TOKENS, DRAFT_DEPTHS, self.world)
            if not of_new_model:
                answers = write_answers(
                    self.model, self._samples, self.renderer.tokenizer, ACCEPTANCE_TOKENS, self.world
                )
        return Measured(held_out=losses, acceptance=acceptance, answers=answers)

    def _save(self, optimizer: torch.optim.Optimizer | None) -> None:
        save_state(self._state, self.model, optimizer, self.progress, self.world)

    def _write_report(self) -> None:
        if self.world.leads:
            write_report(self.config.out, self.summary())

    def summary(self) -> Summary:
        """What the finished stages have come to."""
        return Summary(
            model=self.config.model.init,
            parameters=sum(parameter.numel() for parameter in self.model.parameters()),
            mtp_depths=self.config.model.mtp.depths if has_mtp(self.model) else 0,
            kernels=self._kernels.told,
            unigram_entropy=unigram_entropy(self._valid) if self._valid else None,
            samples=[describe(document, self.renderer.tokenizer) for document in self._samples],
            start=self.progress.start,
            stages=self.progress.results,
        )


def fingerprint(model: CausalLM, train: Trained) -> str:
    """A hash of every weight and buffer, or of this rank's slice, that a stage with this `train` leaves alone."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if not is_trained(name, train):
            digest.update(name.encode())
            local: Tensor = tensor.to_local() if isinstance(tensor, DTensor) else tensor
            digest.update(local.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextmanager
def _stop_requests(display: Display, world: World) -> Iterator[Callable[[], bool]]:
    """Tells whether SIGINT or SIGTERM has come; a second one acts at once."""
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, signal.default_int_handler)
        display.say("Stopping after this optimizer step; once more stops at once.")

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: bool(received)
    except BaseException:
        if world.size > 1:
            before[signal.SIGTERM] = signal.SIG_IGN  # torchrun ends the others at once, but they have to say why
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
