"""Which layout and kernels train a model, by what it is and what the machine has.

Documents in one flat row (see sft/batches.py) waste nothing on padding, and each kernel must be told where they begin:

    attention   `torch.nn.attention.varlen`, flash attention of torch itself: CUDA from Ampere on, in bf16
    Mamba-2     the packages mamba-ssm and causal-conv1d, through transformers' mixer, by `seq_idx`

Everywhere else documents are padded rows, for which SDPA and the mixer's plain PyTorch are enough.
"""

from importlib import import_module
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from gristmill.errors import ConfigError
from schemas.sft_config import LossKernel
from sft.model import CausalLM

ATTENTION = "documents"
MAMBA_PACKAGES = ("mamba_ssm", "causal_conv1d")


class Kernels(NamedTuple):
    """`told` is the sentence that a run begins with."""

    flat: bool
    told: str


def choose_kernels(model: CausalLM, device: torch.device, precision: str) -> Kernels:
    """Sets the model's attention, too."""
    obstacle = _obstacle(model, device, precision)
    if obstacle:
        return Kernels(False, f"Documents are padded rows: {obstacle}.")
    model.set_attn_implementation(ATTENTION)
    used = ["torch's variable-length flash attention", *(["mamba-ssm"] if _has_mamba(model) else [])]
    return Kernels(True, f"Documents share flat rows without padding: {' and '.join(used)}.")


def _obstacle(model: CausalLM, device: torch.device, precision: str) -> str:
    """Why the documents can't share a row; nothing where they can."""
    if device.type != "cuda":
        return f"the device is {device.type}"
    if precision != "bf16":
        return f"precision is {precision}, and flash attention computes in bf16"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return "flash attention needs an Ampere GPU or a later one"
    if not _is_plain(model):
        return f"{model.config.model_type} has layers beside full attention and Mamba-2 that look back"
    missing = [name for name in MAMBA_PACKAGES if _has_mamba(model) and not _importable(name)]
    return f"{' and '.join(missing)} can't be imported" if missing else ""


def check_loss_kernel(kernel: LossKernel, model: CausalLM, device: torch.device) -> None:
    """ConfigError where Liger's can't be had."""
    obstacle = _obstacle_to_liger(model, device) if kernel == "liger" else ""
    if obstacle:
        raise ConfigError(f"loss_kernel: liger: {obstacle}; leave it at torch.")


def _obstacle_to_liger(model: CausalLM, device: torch.device) -> str:
    if device.type != "cuda":
        return f"it needs CUDA, and the device is {device.type}"
    if not _importable("liger_kernel.ops"):
        return "it isn't installed (pip install gristmill[liger])"
    return "it takes no bias, and this model's head has one" if model.get_output_embeddings().bias is not None else ""


def _has_mamba(model: CausalLM) -> bool:
    return bool(model.config.model_type == "nemotron_h")


def _is_plain(model: CausalLM) -> bool:
    """Whether each layer that looks back is one whose kernel is told of documents: no window, cap or other state."""
    config = model.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    known = {"full_attention", *({"linear_attention", "moe", "mlp"} if _has_mamba(model) else ())}
    windowed = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    capped = getattr(config, "attn_logit_softcapping", None)
    return bool(model._supports_flash_attn and kinds <= known and not windowed and not capped)


def _importable(name: str) -> bool:
    try:
        import_module(name)
    except ImportError:
        return False
    return True


def attend_within_documents(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int = 0,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Causal attention of [1, heads, positions, size] within the documents that begin at `cu_seq_lens_q`; without
    those, SDPA. Returns [1, positions, heads, size]."""
    if cu_seq_lens_q is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **others)
    # rotary embeddings leave autocast's precision, which the value keeps
    query, key, value = (states[0].transpose(0, 1).to(value.dtype) for states in (query, key, value))
    starts, longest = cu_seq_lens_q, max_length_q
    attended = varlen_attn(
        query, key, value, starts, starts, longest, longest, scale=scaling, window_size=(-1, 0), enable_gqa=True
    )
    return cast(Tensor, attended)[None], None


def mask_unless_flat(attention_mask: Tensor | None = None, allow_is_causal_skip: bool = True, **shape: Any) -> Any:
    """SDPA's mask; none for documents in one row, which transformers recognises by position ids that begin anew."""
    if attention_mask is None and not allow_is_causal_skip:
        return None
    return sdpa_mask(attention_mask=attention_mask, allow_is_causal_skip=allow_is_causal_skip, **shape)


AttentionInterface.register(ATTENTION, attend_within_documents)
AttentionMaskInterface.register(ATTENTION, mask_unless_flat)
