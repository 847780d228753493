"""Light classifiers: three linear models on features of the embedded embedder, trained by train.py on our own examples.

    prompt     which policy a user's request calls for: one of six (injection is a matter of documents, not of requests)
    passage    whether a sentence of a document or a tool result gives orders to the assistant: injected, clean
    response   whether a sentence of an answer does harm: violating, clean

    classify("prompt", ["How do I kill a job in bash?"])    [{"answer_helpfully": 0.93, "refuse_briefly": 0.04, ...}]

Probabilities are calibrated by one temperature per model, fitted on predictions for examples that a model in
cross-validation hadn't seen. The weights lie in weights.npz, so that nothing is trained at run time.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from gristmill import minilm
from gristmill.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Model = Literal["prompt", "passage", "response"]
MODELS: tuple[Model, ...] = ("prompt", "passage", "response")
Scores = Mapping[str, float]

FOLDER = Path(__file__).parent
BUNDLED = FOLDER / "weights.npz"


class Linear(NamedTuple):
    """A softmax over `classes`: features @ weights + bias. The features' scaling and the temperature are in them."""

    classes: tuple[str, ...]
    weights: "NDArray[np.float32]"
    bias: "NDArray[np.float32]"

    def scores(self, features: "NDArray[np.float32]") -> list[Scores]:
        import numpy as np

        logits = features @ self.weights + self.bias
        logits -= logits.max(1, keepdims=True)
        odds = np.exp(logits)
        shares = odds / odds.sum(1, keepdims=True)
        return [dict(zip(self.classes, map(float, row), strict=True)) for row in shares]


def classify(model: Model, texts: Sequence[str], weights: Path = BUNDLED) -> list[Scores]:
    """The probability of each class, for every text. Blocking: call it in a thread."""
    return load(weights)[model].scores(minilm.features(texts)) if texts else []


@lru_cache(maxsize=4)
def digest(path: Path) -> str:
    """What stands for the weights in the ledger: with others every text is classified anew."""
    return sha256(path.read_bytes()).hexdigest()[:16]


@lru_cache(maxsize=4)
def load(path: Path) -> dict[Model, Linear]:
    """ConfigError where the file isn't one that train.py wrote."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as stored:
            return {
                name: Linear(
                    tuple(map(str, stored[f"{name}.classes"])),
                    stored[f"{name}.weights"].astype(np.float32),
                    stored[f"{name}.bias"].astype(np.float32),
                )
                for name in MODELS
            }
    except (OSError, KeyError, ValueError) as error:
        raise ConfigError(f"{path} holds no weights of the safety classifiers: {error}.") from None
