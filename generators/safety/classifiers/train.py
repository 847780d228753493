"""Trains the classifiers and writes weights.npz. Needs the extra `gristmill[safety]` (scikit-learn) and two minutes.

    python -m generators.safety.classifiers.train                                   # the bundled weights
    python -m generators.safety.classifiers.train --more mine.jsonl --out mine.npz  # with examples of your own

A row of `--more` is {"model": "prompt", "text": "...", "label": "refuse_briefly"}. The weights of your own are named in
`params.classifiers`. Strength of regularisation and temperature are chosen by cross-validation, in which pairs and
frames stay together.
"""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generators.safety.classifiers import BUNDLED, MODELS, Linear, Model
from generators.safety.classifiers.examples import Example, bundled
from gristmill import minilm
from gristmill.errors import ConfigError
from gristmill.seeds import BadSeed, read_rows
from gristmill.text.unicode import plain

FOLDS = 5
STRENGTHS = (0.003, 0.01)
TEMPERATURES = np.geomspace(0.25, 8, 41)
ODDS = {"answer_helpfully": 1.35}
"""A needless refusal weighs more than a harmful request that is sent on to be answered: its answer is moderated."""

SMALLEST_SCALE = 1e-3
"""Of a feature that hardly varies; a smaller one would make a weight that no float16 holds."""

Floats = NDArray[np.float64]


def train(examples: list[Example]) -> tuple[Linear, dict[str, Any]]:
    """The model and what cross-validation says about it."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.preprocessing import StandardScaler

    features = minilm.features([plain(example.text) for example in examples])
    labels = np.array([example.label for example in examples])
    groups = [example.group for example in examples]
    classes = tuple(sorted(set(labels.tolist())))
    right = np.array([classes.index(label) for label in labels])
    scaler = StandardScaler().fit(features)
    scaler.scale_ = np.maximum(scaler.scale_, SMALLEST_SCALE)
    scaled = scaler.transform(features)

    def model(strength: float) -> Any:
        return LogisticRegression(C=strength, max_iter=300, tol=1e-3, class_weight="balanced")

    def unseen(strength: float) -> Floats:
        folds = GroupKFold(FOLDS, shuffle=True, random_state=0)
        logits = cross_val_predict(model(strength), scaled, labels, groups=groups, cv=folds, method="decision_function")
        return np.stack([-logits, logits], 1) / 2 if logits.ndim == 1 else logits

    tried = {strength: unseen(strength) for strength in STRENGTHS}
    _, strength, heat = min(
        (_loss(logits / heat, right), strength, heat) for strength, logits in tried.items() for heat in TEMPERATURES
    )
    logits = tried[strength] / heat
    bias = np.array([np.log(ODDS.get(name, 1.0)) for name in classes])
    fitted = model(strength).fit(scaled, labels)
    weights, intercept = fitted.coef_, fitted.intercept_
    if len(classes) == 2:
        weights, intercept = np.vstack([-weights, weights]) / 2, np.array([-intercept[0], intercept[0]]) / 2
    folded = weights / scaler.scale_
    linear = Linear(
        classes,
        (folded.T / heat).astype(np.float32),
        ((intercept - folded @ scaler.mean_) / heat + bias).astype(np.float32),
    )
    guessed = (logits + bias).argmax(1)
    recall = {name: float((guessed[right == n] == n).mean()) for n, name in enumerate(classes)}
    found = {"examples": len(examples), "strength": strength, "temperature": float(heat), "recall": recall}
    return linear, found | {"accuracy": float((guessed == right).mean())}


def _loss(logits: Floats, right: NDArray[np.int64]) -> float:
    """Mean negative log-likelihood of the right classes."""
    shifted = logits - logits.max(1, keepdims=True)
    return float((np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(right)), right]).mean())


def read_more(location: str) -> dict[Model, list[Example]]:
    """A user's own examples, by model; ConfigError for a row that isn't one."""
    found: dict[Model, list[Example]] = {name: [] for name in MODELS}
    for where, row in read_rows(location):
        name = None if isinstance(row, BadSeed) else row.get("model", "prompt")
        if isinstance(row, BadSeed) or name not in found or not (row.get("text") and row.get("label")):
            raise ConfigError(f"--more {location}, {where}: expected model, text and label.")
        if row["label"] not in {example.label for example in bundled(name)}:
            raise ConfigError(f"--more {location}, {where}: {name} has no class {row['label']}.")
        found[name].append(Example(row["text"], row["label"], row["text"]))
    return found


def save(path: Path, models: dict[Model, Linear]) -> None:
    arrays: dict[str, Any] = {}
    for name, linear in models.items():
        arrays[f"{name}.classes"] = np.array(linear.classes)
        arrays[f"{name}.weights"] = linear.weights.astype(np.float16)
        arrays[f"{name}.bias"] = linear.bias
    np.savez_compressed(path, **arrays)


def main() -> None:
    parser = ArgumentParser(description="Trains the light classifiers of the generator safety.")
    parser.add_argument("--more", help="a .jsonl, .parquet or .csv file, or hf://NAME, of rows model, text, label")
    parser.add_argument("--out", type=Path, default=BUNDLED)
    arguments = parser.parse_args()
    more = read_more(arguments.more) if arguments.more else {name: [] for name in MODELS}
    models = {}
    for name in MODELS:
        models[name], found = train([*bundled(name), *more[name]])
        print(name, {key: round(value, 3) if isinstance(value, float) else value for key, value in found.items()})
    save(arguments.out, models)


if __name__ == "__main__":
    main()
