"""Does drafting with the MTP head pay? Tokens per CPU second of the trainer's own decoding, with and without drafts.

    python benchmarks/sft_drafting.py out/healing/stages/own out/demo-blend

The checkpoint is a hybrid with an MTP head, such as recipes/sft/healing.yaml leaves; the prompts are of the blend's
valid split, answered greedily. The tiny trunk is hardly deeper than its head, so the same is measured on deeper trunks:
its layers repeated, the added ones with output projections of zero. They cost what real ones do and change no token, so
the drafts are as good as before.
"""

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from gristmill.render import from_folder, renderer_for
from sft.documents import read_records, render_documents
from sft.generate import Request, generate
from sft.heldout import prompt_of
from sft.model import CausalLM, NemotronHForCausalLM, load_model, vocabulary_of

OUTPUTS = ("out_proj.weight", "o_proj.weight", "fc2_latent_proj.weight", "shared_experts.down_proj.weight")
MAX_TOKENS, ROUNDS = 64, 3


def deepened(model: CausalLM, times: int) -> CausalLM:
    """The model with `times` as many layers, which writes the same."""
    more = {"layers_block_type": times * model.config.layers_block_type, "time_step_min": 1e-3}  # 0 can't be drawn from
    config = type(model.config)(**{**model.config.to_dict(), **more})
    deeper: CausalLM = NemotronHForCausalLM(config)
    missing = deeper.load_state_dict(model.state_dict(), strict=False).missing_keys
    with torch.no_grad():
        for name, parameter in deeper.named_parameters():
            if name in missing and name.endswith(OUTPUTS):
                parameter.zero_()
    for mixer in (block.mixer for block in deeper.base_model.layers if block.block_type == "linear_attention"):
        mixer.time_step_limit = (0.0, float("inf"))
    return deeper.eval()


def speed(model: CausalLM, prompts: Sequence[list[int]], end: int, drafts: int) -> tuple[float, list[list[int]]]:
    """The median of tokens per CPU second, and the answers."""
    measured = []
    for _ in range(ROUNDS):
        started = time.process_time()
        answers = generate(model, [Request(prompt) for prompt in prompts], end, 0.0, MAX_TOKENS, drafts)
        measured.append(sum(map(len, answers)) / (time.process_time() - started))
    return statistics.median(measured), answers


def main() -> None:
    parser = argparse.ArgumentParser(description="Tokens per CPU second with and without drafts.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("blend", type=Path)
    parser.add_argument("--prompts", type=int, default=16)
    options = parser.parse_args()
    torch.set_num_threads(1)
    renderer = renderer_for(from_folder(options.checkpoint), "nemotron3")
    model = load_model(str(options.checkpoint), vocabulary_of(renderer.tokenizer), seed=0)[0].eval()
    documents = render_documents(renderer, read_records(options.blend / "valid", {}))
    prompts = [prompt_of(document) for document in documents][: options.prompts]
    end = renderer.tokenizer.eos_id
    for times in (1, 3, 6):
        deeper = deepened(model, times)
        for rows in (1, len(prompts)):
            plain, written = speed(deeper, prompts[:rows], end, 0)
            line = f"{5 * times:3} layers, {rows:2} rows: {plain:6,.0f} tokens/s without"
            for drafts in (1, 2, 4):
                with_drafts, same = speed(deeper, prompts[:rows], end, drafts)
                assert same == written
                line += f"; {with_drafts / plain:.2f} times with {drafts}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
