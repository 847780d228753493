"""The training run: one stage after another, measured after each, resumable after any optimizer step.

    OUT/metrics.jsonl      a line per optimizer step          OUT/state/         what a resume needs
    OUT/stages/NAME/       a Hugging Face folder per stage    OUT/summary.json   OUT/report.html
"""

import hashlib
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch
from pydantic import JsonValue

from gristmill.errors import ConfigError, GristmillError
from gristmill.render import Renderer
from schemas.sft_config import SFTConfig, Stage
from sft.acceptance import measure_acceptance
from sft.batches import Document, PackFiles, trainable
from sft.metrics import MetricsLog, StepMetrics, held_out, prompt_of, unigram_entropy
from sft.model import CausalLM, Vocabulary, computing, has_mtp, load_model, save_model
from sft.report import write_report
from sft.rollouts import write_rollouts
from sft.state import Progress, load_optimizer, load_progress, load_weights, save_state
from sft.step import StageTrainer
from sft.world import World

SAVE_SECONDS = 60.0
DRAFT_DEPTHS = 7
ACCEPTANCE_PROMPTS = 64
ACCEPTANCE_TOKENS = 128

Say = Callable[[str], None]
Listen = Callable[[StepMetrics, int, int], None]  # after a step: its metrics, steps done and steps to do in its stage


class Training:
    """A run in OUT; `run` carries on from its last state."""

    def __init__(self, config: SFTConfig, renderer: Renderer, world: World, say: Say, listen: Listen) -> None:
        self._config, self._renderer, self._world, self._say, self._listen = config, renderer, world, say, listen
        self._state = config.out / "state"
        self._progress = self._resumed() or Progress(config=config.model_dump(mode="json"))
        tokenizer = renderer.tokenizer
        vocabulary = Vocabulary(tokenizer.vocab_size, tokenizer.eos_id, tokenizer.pad_id)
        self.model, notes = load_model(config.model.init, vocabulary, config.seed)
        ...
