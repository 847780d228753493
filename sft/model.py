"""The model: `nemotron_h` of transformers together with the MTP head that transformers drops, or any other causal LM.

    embedded  SmolLM2-135M, from the embedded model's GGUF file
    tiny      Mamba-2, LatentMoE and attention layers, hidden size 128, about 2M parameters, newly initialised
    a folder  or a hub id, with weights under the hub's names (`backbone.*`, `lm_head.*`, `mtp.*`)

Weights are kept in fp32 while they train; `save_model` writes them in the run's precision under the released names.
The architecture: Nemotron 3 Super report, section 2.
"""

import contextlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, NemotronHConfig
from transformers.models.nemotron_h import modeling_nemotron_h
from transformers.utils import logging as transformers_logging

from gristmill.embedded import model_path
from gristmill.errors import ConfigError
from gristmill.render import ChatTokenizer
from schemas.sft_config import Lora, ModelInit
from sft.mtp import MTP

CausalLM = Any  # a PreTrainedModel: its modules are attributes that no type describes

PRECISIONS = {"bf16": torch.bfloat16, "fp32": torch.float32}


class Vocabulary(NamedTuple):
    """What a model must know of its tokenizer: how many ids, which one ends a turn, which one pads."""

    size: int
    end: int
    pad: int


def vocabulary_of(tokenizer: ChatTokenizer) -> Vocabulary:
    return Vocabulary(tokenizer.vocab_size, tokenizer.eos_id, tokenizer.pad_id)


class NemotronHForCausalLM(modeling_nemotron_h.NemotronHForCausalLM):
    """The class of transformers, with `mtp.*` loaded, trained and saved instead of ignored.

    It keeps that class's name because `config.json` records the name of the class that saved the weights.
    """

    def __init__(self, config: NemotronHConfig) -> None:
        super().__init__(config)
        self._keys_to_ignore_on_load_unexpected = []
        self.mtp = MTP(config)
        cast(CausalLM, self).post_init()

    @classmethod
    def is_custom_code(cls) -> bool:
        """No, so that the hub's names (`backbone.*`, a tensor per expert) are mapped as for transformers' own class."""
        return False


def tiny_config(vocabulary: Vocabulary) -> NemotronHConfig:
    return NemotronHConfig(
        vocab_size=vocabulary.size,
        hidden_size=128,
        layers_block_type=["linear_attention", "moe", "full_attention", "linear_attention", "moe"],
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        mamba_num_heads=4,
        mamba_head_dim=64,
        ssm_state_size=32,
        n_groups=1,
        chunk_size=32,
        n_routed_experts=8,
        num_experts_per_tok=2,
        moe_latent_size=64,
        moe_intermediate_size=128,
        moe_shared_expert_intermediate_size=128,
        intermediate_size=256,
        num_nextn_predict_layers=1,
        mtp_layers_block_type=["full_attention", "moe"],
    )


def empty_model(wanted: ModelInit, vocabulary: Vocabulary) -> CausalLM:
    """The model's shape, from its config alone: no weight is read or made."""
    _hush()
    with torch.device("meta"):
        if wanted.init == "tiny":
            model: CausalLM = NemotronHForCausalLM(tiny_config(vocabulary))
        else:
            config = _config(wanted.init)
            if wanted.init == "embedded":
                config.vocab_size = vocabulary.size  # its tokenizer has the chat's control tokens added
            is_nemotron = config.model_type == "nemotron_h"
            model = NemotronHForCausalLM(config) if is_nemotron else AutoModelForCausalLM.from_config(config)
        return _fitted(model, vocabulary, wanted.lora, seed=0)


def _fitted(model: CausalLM, vocabulary: Vocabulary, lora: Lora | None, seed: int) -> CausalLM:
    """With what training and its data need: time steps without a lower bound, the tokenizer's ids, and adapters."""
    _unclamp_time_steps(model)
    model.config.eos_token_id, model.config.pad_token_id = vocabulary.end, vocabulary.pad
    model.generation_config = GenerationConfig(eos_token_id=vocabulary.end, pad_token_id=vocabulary.pad)
    if lora:
        from sft.lora import add_adapters  # peft takes a second to import

        add_adapters(model, lora, seed)
    return model


def load_model(init: str, vocabulary: Vocabulary, seed: int, lora: Lora | None = None) -> tuple[CausalLM, list[str]]:
    """The model in fp32, and sentences about what was newly initialised. ConfigError where it doesn't fit the data."""
    torch.manual_seed(seed)
    _hush()
    if init == "tiny":
        model: CausalLM = NemotronHForCausalLM(tiny_config(vocabulary))
        notes = ["The model is new: every weight is initialised at random."]
    elif init == "embedded":
        model, notes = _embedded(vocabulary), []
    else:
        model, notes = _pretrained(init)
    if model.config.vocab_size < vocabulary.size:
        raise ConfigError(
            f"model.init: {init} has {model.config.vocab_size} token embeddings and data.tokenizer has "
            f"{vocabulary.size} tokens; use the model's own tokenizer."
        )
    return _fitted(model, vocabulary, lora, seed), notes


def _config(init: str) -> Any:
    try:
        if init == "embedded":
            path = model_path()
            return AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
        return AutoConfig.from_pretrained(init)
    except (OSError, ValueError) as error:
        raise _cant_load(init, error) from None


def _cant_load(init: str, error: Exception) -> ConfigError:
    reason = " ".join(str(error).split())
    return ConfigError(f"model.init: {init} can't be loaded from a folder or from the hub: {reason}")


def _pretrained(init: str) -> tuple[CausalLM, list[str]]:
    is_nemotron = _config(init).model_type == "nemotron_h"
    kind = NemotronHForCausalLM if is_nemotron else AutoModelForCausalLM
    try:
        with _quiet():
            loaded: Any = kind.from_pretrained(init, dtype=torch.float32, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:  # the last two of weights that are damaged
        raise _cant_load(init, error) from None
    model, found = loaded
    missing, unknown = sorted(found["missing_keys"]), sorted(found["unexpected_keys"])
    new_head = bool(missing) and all(name.startswith("mtp.") for name in missing)
    if unknown or (missing and not new_head):
        raise ConfigError(
            f"model.init: {init} doesn't hold the weights of its architecture: "
            f"{len(missing)} missing, {len(unknown)} unknown (such as {(missing + unknown)[0]})."
        )
    if not is_nemotron:
        _refuse_changed_logits(init, model)
        return model, [f"{init} is not a nemotron_h model: it trains without MTP."]
    return model, [f"{init} has no mtp.* weights: the MTP head is newly initialised."] if new_head else []


def check_context(model: CausalLM, longest: int, where: str) -> None:
    """ConfigError where a conversation of `longest` tokens has more positions than the model was made for. nemotron_h
    knows of no positions."""
    config = model.config.get_text_config()
    most = getattr(config, "max_position_embeddings", None)
    if most and longest > most and config.model_type != "nemotron_h":
        raise ConfigError(
            f"{where} a conversation has {longest:,} tokens, and the model is made for {most:,} "
            "(max_position_embeddings). Lower pack_tokens; or raise that number in the model's config.json, if it is "
            "to learn longer ones."
        )


@torch.no_grad()
def _refuse_changed_logits(init: str, model: CausalLM) -> None:
    """ConfigError where a model scales or caps logits after its output head, as Granite and Gemma 2 do: the loss is
    computed from the head itself."""
    some = torch.arange(8)[None] % model.config.vocab_size
    logits = model.get_output_embeddings()(trunk_states(model, some))
    if not torch.allclose(logits, model(input_ids=some, use_cache=False).logits, rtol=1e-3, atol=1e-4):
        raise ConfigError(
            f"model.init: {init} ({model.config.model_type}) changes its logits after the output head, which the loss "
            "doesn't do; train another model."
        )


def _embedded(vocabulary: Vocabulary) -> CausalLM:
    """The GGUF's weights in a new model, because the one that they are read into can't be saved. The tokenizer has the
    chat's control tokens added; each begins as a draw near the mean of the others."""
    path = model_path()
    with _quiet(), contextlib.redirect_stderr(io.StringIO()):  # one of its progress bars knows no other way
        read: CausalLM = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
        read.resize_token_embeddings(vocabulary.size)
    del read.config.quantization_config
    model: CausalLM = AutoModelForCausalLM.from_config(read.config)
    model.load_state_dict(read.state_dict())
    return model


def _unclamp_time_steps(model: CausalLM) -> None:
    """Megatron bounds Mamba's time steps by [0, inf); transformers takes the lower bound from `time_step_min`.

    It can't be set before: new weights are drawn between `time_step_min` and `time_step_max` on a log scale.
    """
    if model.config.model_type != "nemotron_h":
        return
    model.config.time_step_min = 0.0
    for module in model.modules():
        if isinstance(module, modeling_nemotron_h.NemotronHMamba2Mixer):
            module.time_step_limit = (0.0, float("inf"))


def trunk_states(model: CausalLM, input_ids: Tensor, bounds: Mapping[str, Any] = MappingProxyType({})) -> Tensor:
    """h^0, the trunk's output after its final norm, for right-padded rows, or for documents in one row that are told
    apart by `bounds` (see sft/batches.py): [rows, length, hidden]."""
    states: Tensor = model.base_model(input_ids=input_ids, use_cache=False, **bounds)[0]
    return states


def computing(precision: str, device: torch.device) -> torch.autocast:
    """Within it, matrix products run in the run's precision; weights and sums stay in fp32."""
    return torch.autocast(device.type, PRECISIONS[precision], enabled=precision != "fp32")


def has_mtp(model: CausalLM) -> bool:
    return hasattr(model, "mtp")


def save_model(model: CausalLM, folder: Path, precision: str, whole: dict[str, Tensor] | None = None) -> None:
    """Weights (with LoRA's adapters merged into them), config and generation config; a router's bias stays in fp32.

    `whole` is the state dict where `model` holds only slices.
    """
    dtype = PRECISIONS[precision]
    weights = {
        name: tensor if name.endswith("e_score_correction_bias") else tensor.to(dtype)
        for name, tensor in plain_weights(model, whole or model.state_dict()).items()
        if name not in model.all_tied_weights_keys
    }
    with _quiet():
        model.save_pretrained(folder, state_dict=weights)
    model.config.dtype = str(dtype).removeprefix("torch.")
    model.config.save_pretrained(folder)


def plain_weights(model: CausalLM, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict `weights`, as of a model without adapters."""
    if not has_adapters(model):
        return weights
    from sft.lora import merged_weights

    return merged_weights(model, weights)


def has_adapters(model: CausalLM) -> bool:
    return hasattr(model, "peft_config")


def _hush() -> None:
    """Without a GPU transformers would name the kernels that are missing."""
    if not torch.cuda.is_available():
        transformers_logging.set_verbosity_error()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bars and the load report of transformers: what matters of them is said by us."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        transformers_logging.enable_progress_bar()
