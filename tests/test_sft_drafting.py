"""Speculative decoding: whatever the MTP head drafts, the tokens are those of the trunk alone."""

from typing import Any

import pytest
import torch
from transformers import DynamicCache

from gristmill.render import Renderer, from_folder, renderer_for
from schemas import Record, assistant, user
from sft.acceptance import measure_acceptance
from sft.drafting import Drafter, _advance
from sft.generate import Request, generate
from sft.model import CausalLM, Vocabulary, load_model, vocabulary_of
from tests.test_train import WORLD, learn

pytestmark = pytest.mark.usefixtures("one_thread")

WORDS = ("one", "two", "three", "four", "five", "six", "seven")
PROMPTS = [[3, 9, 4], [7] * 11, [5, 6, 5, 6, 8, 2], [30], [11, 12, 13, 14, 15, 16, 17, 18], [2, 3]]


def counting(count: int) -> list[Record]:
    """Answers of different lengths, which the next ones of are easy to guess."""
    return [
        Record(
            messages=[
                user(f"Count to {WORDS[n % 7]}{', please' * (n % 4)}."),
                assistant(", ".join(WORDS[: 1 + n % 7]) + "."),
            ],
            license="CC0-1.0",
        )
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> tuple[CausalLM, Renderer]:
    folder = tmp_path_factory.mktemp("counting")
    learned = learn(folder, counting(56), steps=60)
    renderer = renderer_for(from_folder(learned), "nemotron3")
    model, _ = load_model(str(learned), vocabulary_of(renderer.tokenizer), seed=0)
    return model.eval(), renderer


@pytest.fixture(scope="module")
def untrained() -> CausalLM:
    """Its head guesses hardly anything; its logits lie far apart, so that no rounding decides."""
    model = load_model("tiny", Vocabulary(40, 1, 0), seed=3)[0].eval()
    with torch.no_grad():
        model.lm_head.weight *= 50
    return model


def questions(renderer: Renderer) -> list[Request]:
    made = [record.model_copy(update={"messages": record.messages[:1]}) for record in counting(9)]
    return [Request(renderer.prompt(record).tolist(), (n,)) for n, record in enumerate(made)]


@pytest.mark.parametrize("depths", [1, 2, 3, 7])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_answers_with_drafts_are_those_without(
    trained: tuple[CausalLM, Renderer], depths: int, temperature: float
) -> None:
    """Drafts run over the end of answers of different lengths, whose rows then leave the batch."""
    model, renderer = trained
    asked, end = questions(renderer), renderer.tokenizer.eos_id
    plain = generate(model, asked, end, temperature, 40)
    lengths = {len(answer) for answer in plain if answer[-1] == end}
    assert len(lengths) > 2
    assert generate(model, asked, end, temperature, 40, depths) == plain


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 8])
def test_a_limit_falls_inside_a_draft(trained: tuple[CausalLM, Renderer], limit: int) -> None:
    model, renderer = trained
    asked, end = questions(renderer), renderer.tokenizer.eos_id
    drafted = generate(model, asked, end, 0.0, limit, 4)
    assert drafted == generate(model, asked, end, 0.0, limit)
    assert max(map(len, drafted)) == limit


@pytest.mark.parametrize("end", [-1, 17])
def test_rejected_drafts_leave_nothing_behind(untrained: CausalLM, end: int) -> None:
    """Of a head that was never trained: nearly all is rejected, at another depth in each row."""
    requests = [Request(prompt, (n,)) for n, prompt in enumerate(PROMPTS)]
    for temperature in (0.0, 1.0):
        plain = generate(untrained, requests, end, temperature, 30)
        assert generate(untrained, requests, end, temperature, 30, 3) == plain


def test_drafts_of_a_trained_head_are_accepted(
    trained: tuple[CausalLM, Renderer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer passes of the trunk, as many as the measured accepted length says."""
    model, renderer = trained
    (asked, *_), end = questions(renderer)[5:], renderer.tokenizer.eos_id
    passes: list[int] = []
    hook = model.base_model.register_forward_hook(lambda *_: passes.append(1))
    try:
        (answer,) = generate(model, [asked], end, 0.0, 40, 2)
    finally:
        hook.remove()
    measured = measure_acceptance(model, [asked.prompt], end, 40, 2, WORLD)
    assert measured.places == len(answer) > 8
    assert measured.mean_accepted_length > 1.5
    assert len(passes) <= round(len(answer) / measured.mean_accepted_length) + 1 < len(answer)


@torch.no_grad()
def test_states_after_a_settled_pass_are_those_of_the_kept_tokens_alone(untrained: CausalLM) -> None:
    """Keys, values and Mamba's states of both rows, of which one keeps two tokens of five and the other one all."""
    base = untrained.base_model
    prompts = torch.tensor([[4, 9, 2, 8], [0, 0, 6, 7]])
    mask = torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1]])
    fed = torch.tensor([[5, 6, 7, 8, 9], [3, 2, 1, 4, 5]])
    cache: Any = DynamicCache(config=untrained.config)
    drafter = Drafter(untrained, cache, 4)
    drafter.verify(prompts, mask, 1)
    mask = drafter.settle(fed[:, :1], torch.tensor([0, 0]), mask)
    mask = torch.cat([mask, torch.ones_like(fed)], dim=1)
    drafter.verify(fed, mask, 5)
    mask = drafter.settle(torch.roll(fed, -1, 1), torch.tensor([3, 0]), mask)
    assert mask.tolist() == [[0] * 1 + [1] * 6, [1] * 7]
    for row, tokens in enumerate(([4, 9, 2, 8, 5, 6], [6, 7, 3, 2, 1, 4, 5])):
        alone: Any = DynamicCache(config=untrained.config)
        base(input_ids=torch.tensor([tokens]), cache=alone, use_cache=True)
        for found, expected in zip(cache.layers, alone.layers, strict=True):
            if getattr(expected, "keys", None) is not None:
                shown = found.keys[row, :, -len(tokens) :], found.values[row, :, -len(tokens) :]
                torch.testing.assert_close(shown, (expected.keys[0], expected.values[0]), rtol=1e-4, atol=1e-5)
            if hasattr(expected, "conv_states"):
                shown = found.conv_states[0][row], found.recurrent_states[0][row]
                wanted = expected.conv_states[0][0], expected.recurrent_states[0][0]
                torch.testing.assert_close(shown, wanted, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_mamba_is_advanced_by_no_token_at_all(untrained: CausalLM) -> None:
    mixer = next(block.mixer for block in untrained.base_model.layers if block.block_type == "linear_attention")
    conv, state = torch.randn(2, mixer.conv_dim, mixer.conv_kernel_size), torch.randn(2, 4, 64, 32)
    projected = torch.randn(2, 3, mixer.in_proj.out_features)
    advanced = _advance(mixer, conv, state, projected, torch.tensor([0, 0]))
    torch.testing.assert_close(advanced, (conv, state))


def test_models_without_a_head_are_answered_as_before() -> None:
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, eos_token_id=1
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    requests = [Request(prompt) for prompt in PROMPTS]
    assert generate(model, requests, 1, 0.0, 5, drafts=3) == generate(model, requests, 1, 0.0, 5)
