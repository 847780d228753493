"""LoRA: low-rank adapters beside the trunk's linear layers, which alone train in a stage with `train: lora`.

    y = W x + (alpha / rank) B A x        A [rank, in] random, B [out, rank] zero, so a new adapter changes nothing

The MTP head and the routers get none, nor do layers whose weights a fused kernel reads past the adapter (Mamba's
`out_proj`) or that hold many experts in one tensor. A saved stage has the adapters merged into the weights; beside it
lies `adapter/`, which peft loads onto the model that the run began with. Source: Hu et al. 2021, arXiv 2106.09685.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from peft.tuners.lora import Linear as LoraLinear
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.models.nemotron_h.modeling_nemotron_h import NemotronHMamba2Mixer

from gristmill.errors import ConfigError
from schemas.sft_config import Lora
from sft.stages import is_adapter

CausalLM = Any  # as in sft/model.py
ADAPTER = "default"


def add_adapters(model: CausalLM, wanted: Lora, seed: int) -> None:
    """New adapters on the layers that `wanted` names, or on all that can have one."""
    possible = list(_adaptable(model))
    names = [name for name in possible if not wanted.targets or name.rpartition(".")[2] in wanted.targets]
    missing = set(wanted.targets) - {name.rpartition(".")[2] for name in names}
    if missing or not names:
        known = sorted({name.rpartition(".")[2] for name in possible})
        raise ConfigError(
            f"model.lora.targets: no linear layer {', '.join(sorted(missing)) or 'at all'} in the trunk; "
            f"there are {', '.join(known)}."
        )
    torch.manual_seed(seed)
    inject_adapter_in_model(LoraConfig(r=wanted.rank, lora_alpha=wanted.alpha, target_modules=names), model)


def _adaptable(model: CausalLM) -> Iterator[str]:
    prefix = model.base_model_prefix
    for name, module in model.base_model.named_modules(prefix=prefix):
        if isinstance(module, nn.Linear) and not name.endswith(".out_proj"):
            yield name
        elif isinstance(module, nn.Linear):
            mixer = model.get_submodule(name.rpartition(".")[0])
            if not isinstance(mixer, NemotronHMamba2Mixer):
                yield name


@torch.no_grad()
def merged_weights(model: CausalLM, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict `weights` as it would be without adapters, what they add being in the weights."""
    merged = {name.replace(".base_layer.", "."): tensor for name, tensor in weights.items() if not is_adapter(name)}
    for name, module in model.named_modules():
        if isinstance(module, LoraLinear):
            down, up = (weights[f"{name}.lora_{part}.{ADAPTER}.weight"] for part in "AB")
            merged[f"{name}.weight"] = merged[f"{name}.weight"] + up @ down * module.scaling[ADAPTER]
    return merged


def save_adapter(model: CausalLM, weights: dict[str, Tensor], folder: Path, base: str) -> None:
    """The adapters in the state dict `weights` alone, as peft reads them; `base` is the model that they stand on."""
    folder.mkdir(parents=True)
    tensors = get_peft_model_state_dict(model, weights, ADAPTER)
    named = {f"base_model.model.{name}": tensor.contiguous() for name, tensor in tensors.items()}
    save_file(named, folder / "adapter_model.safetensors", {"format": "pt"})
    config: LoraConfig = model.peft_config[ADAPTER]
    config.base_model_name_or_path, config.task_type = base, "CAUSAL_LM"
    config.save_pretrained(str(folder))
