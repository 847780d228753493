"""`gristmill export CHECKPOINT --to hf|megatron-bridge`: a finished stage as others take it.

    hf                 DIR/                     weights, config, tokenizer and template: what transformers loads
                       DIR/README.md            a model card
                       DIR/lineage.json         the stages, the packs' keys, the blends and what those were made from
    megatron-bridge    DIR/hf/                  the same, for AutoBridge.import_ckpt
                       DIR/STAGE/train, valid   the packs of each stage that learned from a blend
                       DIR/STAGE/config.yaml    that stage in Megatron-Bridge's keys
                       DIR/README.md            how to go on there, and what is different there

CHECKPOINT is a stage's folder (OUT/stages/NAME), or OUT for the last stage that is finished. The format of packs and
keys: https://github.com/NVIDIA-NeMo/Megatron-Bridge, docs/training/packed-sequences.md.
"""

import json
import math
import shutil
from argparse import ArgumentParser, Namespace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from gristmill.commands import Command
from gristmill.errors import ConfigError
from schemas.sft_config import BETAS, CLIP, WEIGHT_DECAY, SFTConfig, Stage


class Checkpoint(NamedTuple):
    """A finished stage of the run in `out`, and the results of the run's stages up to it (see summary.json)."""

    out: Path
    name: str
    config: SFTConfig
    results: list[dict[str, Any]]

    @property
    def folder(self) -> Path:
        return self.out / "stages" / self.name


def read_checkpoint(path: Path) -> Checkpoint:
    """ConfigError where there is no finished stage."""
    out = path.parent.parent if path.parent.name == "stages" else path
    latest = out / "state/latest"
    if not latest.is_file():
        raise ConfigError(f"{path} is neither a training's folder (OUT) nor a stage of one (OUT/stages/NAME).")
    told = out / "state" / latest.read_text(encoding="utf-8") / "progress.json"
    try:
        progress = json.loads(told.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{told}: can't be read ({error}), so it doesn't tell which stages are finished.") from None
    results: list[dict[str, Any]] = progress["results"]
    names = [result["name"] for result in results]
    name = names[-1] if path == out and names else path.name
    if name not in names:
        raise ConfigError(f"{path}: no finished stage; finished are: {', '.join(names) or 'none'}.")
    config = SFTConfig.model_validate(progress["config"])
    return Checkpoint(out, name, config, results[: names.index(name) + 1])


def export_hf(checkpoint: Checkpoint, target: Path) -> None:
    """The stage's folder with its lineage and a card; LoRA's adapters are merged in it already."""
    shutil.copytree(checkpoint.folder, target, ignore=shutil.ignore_patterns("adapter"))
    told = lineage(checkpoint)
    (target / "lineage.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    (target / "README.md").write_text(_card(checkpoint, told), encoding="utf-8")


def lineage(checkpoint: Checkpoint) -> dict[str, Any]:
    """From the checkpoint to the files that its blends were made from. A blend that has moved tells no sources."""
    stages = []
    for stage, result in zip(checkpoint.config.stages, checkpoint.results, strict=False):
        told = {key: result[key] for key in ("name", "train", "loss", "steps", "packs", "conversations")}
        summary = _json(checkpoint.out / "data" / stage.name / "summary.json")
        if stage.data.rollouts:
            told["rollouts"] = {**summary, "prompts": str(stage.data.rollouts.prompts)}
        else:
            blend = checkpoint.config.stage_data(stage).blend
            told |= {"packs_key": summary.get("key"), "blend": str(blend)}
            told["sources"] = [
                {key: source.get(key) for key in ("name", "path", "inputs", "rows")}
                for source in _json(blend / "manifest.json").get("sources", [])
            ]
        stages.append(told)
    return {
        "gristmill": version("gristmill"),
        "run": str(checkpoint.out),
        "stage": checkpoint.name,
        "base": checkpoint.config.model.init,
        "stages": stages,
    }


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
    return found


def _card(checkpoint: Checkpoint, told: dict[str, Any]) -> str:
    base = checkpoint.config.model.init
    front = ["library_name: transformers", "pipeline_tag: text-generation", "tags: [gristmill, sft]"]
    front += [f"base_model: {base}"] if "/" in base and not Path(base).exists() else []
    lines = ["---", *front, "---", "", f"# {checkpoint.out.name}: {checkpoint.name}", ""]
    lines += [f"Trained by Gristmill {told['gristmill']} from `{base}`.", ""]
    lines += ["| stage | trains | loss | steps | conversations | data |", "|---|---|---|---|---|---|"]
    for stage in told["stages"]:
        data = stage.get("blend") or f"own answers to {stage['rollouts']['prompts']}"
        cells = [stage["name"], stage["train"], stage["loss"] or "", stage["steps"], stage["conversations"], data]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines += ["", "`lineage.json` leads from here to the blends' sources and their files."]
    return "\n".join(lines) + "\n"


def export_megatron_bridge(checkpoint: Checkpoint, target: Path) -> None:
    export_hf(checkpoint, target / "hf")
    for stage in checkpoint.config.stages:
        packs = checkpoint.out / "data" / stage.name
        if stage.data.rollouts or not any(packs.glob("*.parquet")):
            continue
        for source, split in ((packs, "train"), (packs / "valid", "valid")):
            (target / stage.name / split).mkdir(parents=True)
            for path in sorted(source.glob("*.parquet")):
                shutil.copy2(path, target / stage.name / split / path.name)
        summary = _json(packs / "summary.json")
        config = megatron_config(checkpoint.config, stage, summary["train"]["packs"], summary["valid"]["packs"])
        _write_yaml(target / stage.name / "config.yaml", config)
    (target / "README.md").write_text(_hand_over(checkpoint.config), encoding="utf-8")


def megatron_config(config: SFTConfig, stage: Stage, packs: int, valid_packs: int) -> dict[str, Any]:
    """A stage in the keys of Megatron-Bridge's ConfigContainer; paths are relative to the export.

    `dataset_root` is where that would look for rows to pack; it must be set, and holds none.
    """
    size = config.stage_data(stage).pack_tokens
    steps = stage.steps or (stage.epochs or 1) * math.ceil(packs / stage.global_batch)
    schedule = {"lr_decay_style": stage.schedule, "lr_decay_iters": steps}
    if stage.warmup.unit == "packs":
        schedule["lr_warmup_iters"] = math.ceil(stage.warmup.count / stage.global_batch)
    specs = {"packed_sequence_size": size, "packed_train_data_path": f"{stage.name}/train"}
    if valid_packs:
        specs["packed_val_data_path"] = f"{stage.name}/valid"
    return {
        "dataset": {
            "seq_length": size,
            "dataset_root": stage.name,
            "enable_offline_packing": True,
            "offline_packing_specs": specs,
            "do_validation": valid_packs > 0,
            "do_test": False,
        },
        "train": {"train_iters": steps, "global_batch_size": stage.global_batch, "micro_batch_size": 1},
        "model": {
            "seq_length": size,
            "calculate_per_token_loss": True,
            "mtp_num_layers": config.model.mtp.depths,
            "mtp_loss_scaling_factor": config.model.mtp.scale,
        },
        "optimizer": {
            "lr": stage.lr,
            "min_lr": 0.0 if stage.schedule == "cosine" else stage.lr,
            "weight_decay": WEIGHT_DECAY,
            "adam_beta1": BETAS[0],
            "adam_beta2": BETAS[1],
            "clip_grad": CLIP,
        },
        "scheduler": schedule,
        "checkpoint": {"pretrained_checkpoint": "megatron"},
    }


def _write_yaml(path: Path, content: dict[str, Any]) -> None:
    import yaml

    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


HAND_OVER = """\
# For Megatron-Bridge

`hf/` holds the weights, `mtp.*` included: `AutoBridge.import_ckpt("hf", "megatron")` makes `megatron/`. Each stage's
`config.yaml` goes over a recipe for this model; its packs are beside it. `loss_mask` is shifted already, as the packed
dataset expects it.

What is different there:

"""


def _hand_over(config: SFTConfig) -> str:
    sample = ", ".join(stage.name for stage in config.stages if stage.loss == "sample" and stage.train == "all")
    own = ", ".join(stage.name for stage in config.stages if stage.data.rollouts)
    different = [
        f"It has no sample-level loss: {sample} would train with the token-level one." if sample else "",
        "Its MTP loss in SFT is not masked: prompts and padding train the head too (its issue 6103).",
        "Packs are not padded; context parallelism, whose lengths must be divisible, needs others.",
        "A warm-up counted in conversations has no counterpart: `lr_warmup_iters` is not set there.",
        f"Stages on the model's own answers ({own}) aren't here: their packs come from its checkpoint." if own else "",
    ]
    return HAND_OVER + "".join(f"- {line}\n" for line in different if line)


FORMATS = {"hf": export_hf, "megatron-bridge": export_megatron_bridge}


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, help="a training's folder, or one of its stages (OUT/stages/NAME)")
    parser.add_argument("--to", choices=FORMATS, default="hf", help="whose format")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to; OUT/export/STAGE-FORMAT otherwise")


def _run(arguments: Namespace) -> int:
    checkpoint = read_checkpoint(arguments.checkpoint)
    if not checkpoint.folder.is_dir():
        raise ConfigError(f"{checkpoint.folder}: the stage is finished, but its folder is gone.")
    target = arguments.out or checkpoint.out / "export" / f"{checkpoint.name}-{arguments.to}"
    if target.exists():
        raise ConfigError(f"--out: {target} is there already; give another, or remove it.")
    draft = target.with_name(f".{target.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.parent.mkdir(parents=True, exist_ok=True)
    FORMATS[arguments.to](checkpoint, draft)
    draft.rename(target)
    print(f"{checkpoint.folder} as {arguments.to}: {target}")
    return 0


export_command = Command(
    "write a checkpoint for transformers or Megatron-Bridge",
    _configure,
    _run,
    "gristmill export runs/sft --to hf",
)
