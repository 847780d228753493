"""A model over ranks, by FSDP2: each rank keeps a slice of every weight, of its gradient and of its moments.

A block's weights are gathered while it computes, in the run's precision; the embeddings, the final norm and the output
head in fp32, for as long as something is computed with the model, because the loss and the MTP head use them too.
Gradients are summed in fp32, into the slices. With one rank nothing is sharded, and the same code runs.

Gathering is collective: every rank has to run forward and backward passes as often as the others.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from transformers.modeling_layers import GradientCheckpointingLayer

from schemas.sft_config import ModelInit
from sft.model import PRECISIONS, CausalLM, Vocabulary, empty_model, has_mtp, load_model
from sft.world import World

S = TypeVar("S")
T = TypeVar("T")


class Shared(nn.Module):
    """Makes a forward pass of any computation with the model, so that FSDP gathers what its blocks don't hold."""

    def __init__(self, model: CausalLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, compute: Callable[[], T]) -> T:
        return compute()

    @torch.no_grad()
    def look(self, compute: Callable[[], T]) -> T:
        """What `compute` finds without gradients. Parts of the MTP head may be called alone in it.

        No stage may be running: afterwards every weight is one that could be trained, because FSDP settles the
        precision of a gradient by what is trained when it first gathers, and when it is told to gather.
        """
        self.requires_grad_(True)
        parts = [part for part in (self, getattr(self.model, "mtp", None)) if isinstance(part, FSDPModule)]
        for part in parts[1:]:
            part.unshard()
        found: T = self(compute)
        for part in parts:
            part.reshard()
        return found


def load_shared(
    wanted: ModelInit, vocabulary: Vocabulary, seed: int, world: World, precision: str
) -> tuple[Shared, list[str]]:
    """The model over all ranks, and what `load_model` says of it. Only the first rank ever holds the whole."""
    whole, notes = load_model(wanted.init, vocabulary, seed, wanted.lora) if world.leads else (None, [])
    if world.size == 1:
        return Shared(whole).to(world.device), notes
    shared = _sliced(empty_model(wanted, vocabulary), world, precision)
    weights = whole.state_dict() if whole is not None else {}
    set_model_state_dict(
        shared.model, weights, options=StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    )
    sources = whole.buffers() if whole is not None else shared.model.buffers()
    for buffer, source in zip(shared.model.buffers(), sources, strict=True):
        buffer.copy_(source)  # also those that no state dict has, such as the frequencies of rotary embeddings
        dist.broadcast(buffer, 0)
    shared.look(lambda: None)
    return shared, notes


def _sliced(model: CausalLM, world: World, precision: str) -> Shared:
    """`model`, on the meta device, with unfilled slices on this rank's device."""
    mesh = init_device_mesh(world.device.type, (world.size,))
    dtype = PRECISIONS[precision] if precision != "fp32" else None
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for block in blocks_of(model):
        fully_shard(block, mesh=mesh, mp_policy=policy)
    if has_mtp(model):
        fully_shard(model.mtp, mesh=mesh, mp_policy=policy, reshard_after_forward=False)
    shared = Shared(model)
    fully_shard(shared, mesh=mesh)
    shared.to_empty(device=world.device)
    return shared


def blocks_of(model: CausalLM) -> Sequence[nn.Module]:
    """The trunk's layers."""
    return [module for module in model.base_model.modules() if isinstance(module, GradientCheckpointingLayer)]


def whole_weights(model: CausalLM) -> dict[str, Tensor]:
    """The state dict with whole tensors; on the CPU and on the first rank alone where there are several."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights: dict[str, Any] = get_model_state_dict(model, options=options)
    return weights


def divided(model: CausalLM, world: World, items: Sequence[S], work: Callable[[Sequence[S]], list[T]]) -> list[T]:
    """What `work` makes of each of the items, in their order. Each rank does its share of them, and runs the trunk as
    often as that takes."""
    with in_step(model, world):
        made = work(items[world.rank :: world.size])
    shares = world.gather(made)
    return [shares[number % world.size][number // world.size] for number in range(len(items))]


@contextmanager
def in_step(model: CausalLM, world: World) -> Iterator[None]:
    """Within it each rank runs the trunk as often as it likes: one that has done its own goes on with a single token,
    until the last is done."""
    if world.size == 1:
        yield
        return

    def run_own(*_: object) -> None:
        world.sum(1)

    hook = model.base_model.register_forward_pre_hook(run_own)
    yield
    hook.remove()
    while world.sum(0)[0] > 0:
        model.base_model(input_ids=torch.zeros(1, 1, dtype=torch.int64, device=world.device), use_cache=False)
