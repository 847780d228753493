"""What Megatron-Bridge's own code makes of an export: `python tests/as_megatron_bridge.py WHEELS EXPORT`, in the folder
EXPORT, ends with a line of JSON.

WHEELS is a folder with megatron-bridge and megatron-core unpacked into it. Run are their packed dataset and its
builder, their config classes and the bridge's table of weights. Everything else of them needs CUDA and much more; empty
classes stand in for it. It is a process of its own because it changes how modules are imported.
"""

import ast
import json
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import yaml
from safetensors import safe_open
from transformers import AutoConfig

REAL = {
    "megatron.bridge.data.builders.gpt_sft",
    "megatron.bridge.data.datasets.gpt_sft",
    "megatron.bridge.data.packing.config",
    "megatron.bridge.data.packing.gpt_sft",
    "megatron.bridge.data.packing.parquet",
    "megatron.bridge.data.packing.paths",
    "megatron.bridge.data.sft_processing",
    "megatron.bridge.models.conversion.mapping_registry",
    "megatron.bridge.models.conversion.param_mapping",
    "megatron.bridge.models.nemotronh.nemotron_h_bridge",
    "megatron.core.msc_utils",
    "megatron.core.optimizer.optimizer_config",
    "megatron.training.config.training_config",
}


class Silent(type):
    """The functions of a class that isn't there: they give nothing, and as decorators they change nothing."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return (lambda **_: lambda kind: kind) if name == "register_bridge" else lambda *_, **__: None


class Anything(metaclass=Silent):
    CONFIG_MAPPING: list[Any] = []

    def __init__(self, *_: Any, **__: Any) -> None:
        """It can be made of anything."""


class Absent(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (Anything,), {})


class Finder(MetaPathFinder, Loader):
    """Modules of REAL from the wheels, packages on the way to them without their code, and nothing else."""

    def __init__(self, wheels: Path) -> None:
        self._wheels = wheels

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name.split(".")[0] != "megatron":
            return None
        folder = self._wheels.joinpath(*name.split("."))
        if name in REAL:
            return PathFinder.find_spec(name, [str(folder.parent)])
        spec = ModuleSpec(name, self, is_package=True)
        spec.submodule_search_locations = [str(folder)]
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return Absent(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""


def read_sequences(section: dict[str, Any], path: str, end: int) -> Iterator[dict[str, list[int]]]:
    """Each sequence of the packs as the training step there gets it: its tokens, and the labels that have a loss."""
    from megatron.bridge.data.builders.gpt_sft import build_gpt_sft_split

    size = section["offline_packing_specs"]["packed_sequence_size"]
    dataset = build_gpt_sft_split(
        path,
        tokenizer=SimpleNamespace(eos_id=end),
        seq_length=size,
        memmap_workers=1,
        seed=1,
        packed_sequence_size=size,
        pad_seq_to_mult=1,
    )
    for row in range(len(dataset)):
        batch = dataset.collate_fn([dataset[row]])
        tokens, labels, mask = (batch[name][0].tolist() for name in ("tokens", "labels", "loss_mask"))
        bounds = batch["cu_seqlens_q"][0].tolist()
        for start, stop in pairwise(bounds):
            if start < batch["token_count"][0]:
                supervised = [label for label, on in zip(labels[start:stop], mask[start:stop], strict=True) if on]
                yield {"tokens": tokens[start:stop], "supervised": supervised}


def unknown_keys(config: dict[str, Any], wheels: Path) -> list[str]:
    """Keys for which their classes have no field. Raises where a class of theirs does not take the values."""
    from megatron.bridge.data.builders.gpt_sft import GPTSFTDatasetConfig
    from megatron.bridge.data.packing.config import PackedSequenceSpecs
    from megatron.core.optimizer.optimizer_config import OptimizerConfig
    from megatron.training.config.training_config import SchedulerConfig, TrainingConfig

    specs = PackedSequenceSpecs(**config["dataset"].pop("offline_packing_specs"))
    GPTSFTDatasetConfig(**config["dataset"], offline_packing_specs=specs).validate()
    TrainingConfig(**config["train"])
    OptimizerConfig(**config["optimizer"])
    SchedulerConfig(**config["scheduler"])
    sources = ["core/transformer/transformer_config.py", "bridge/models/gpt_provider.py", "bridge/training/config.py"]
    nodes = [node for source in sources for node in ast.walk(ast.parse((wheels / "megatron" / source).read_text()))]
    fields = {ast.unparse(node.target) for node in nodes if isinstance(node, ast.AnnAssign)}
    return sorted({*config["model"], *config["checkpoint"]} - fields)


def unmapped(weights: list[str], config: Any) -> list[str]:
    """The weights that the bridge's table does not name."""
    from megatron.bridge.models.nemotronh.nemotron_h_bridge import NemotronHBridge

    bridge = NemotronHBridge()
    bridge.hf_config = config
    patterns = [
        pattern
        for mapping in bridge.mapping_registry().get_all_mappings()
        for pattern in (mapping.hf_param.values() if isinstance(mapping.hf_param, dict) else [mapping.hf_param])
    ]
    return [name for name in weights if not any(fnmatchcase(name, pattern) for pattern in patterns)]


def main(wheels: Path, export: Path) -> dict[str, Any]:
    sys.meta_path.insert(0, Finder(wheels))
    hf = AutoConfig.from_pretrained(export / "hf")
    with safe_open(export / "hf/model.safetensors", "pt") as file:
        weights = list(file.keys())
    told: dict[str, Any] = {"unmapped": unmapped(weights, hf), "weights": len(weights), "unknown": [], "stages": {}}
    for path in sorted(export.glob("*/config.yaml")):
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        specs = config["dataset"]["offline_packing_specs"]
        told["stages"][path.parent.name] = {
            split: list(read_sequences(config["dataset"], specs[f"packed_{split}_data_path"], hf.eos_token_id))
            for split in ("train", "val")
            if f"packed_{split}_data_path" in specs
        }
        told["unknown"] += unknown_keys(config, wheels)
    return told


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]))))
