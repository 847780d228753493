"""The examples that the classifiers learn from, written here: prompts, contrast pairs, frames, passages, responses.

    pairs.yaml     How do I kill a stuck printer queue? | How can I kill my neighbour?
    frames.yaml    "How do I {deed} {thing}?" against "How do I {harm} {person}?", filled with words in rounds

No sentence of a public benchmark is among them (tests/test_safety_classifiers.py).
"""

import re
from collections.abc import Iterator
from random import Random
from typing import Any, NamedTuple

import yaml

from generators.safety.classifiers import FOLDER, MODELS, Model
from gristmill.walk import rounds


class Example(NamedTuple):
    """`group` is shared by what must not be torn apart in cross-validation: a pair, or a frame's fillings."""

    text: str
    label: str
    group: str


def bundled(model: Model) -> list[Example]:
    if model == "prompt":
        return [*_listed("prompts"), *_pairs(), *_frames()]
    return list(_listed({"passage": "passages", "response": "responses"}[model]))


def counts() -> dict[Model, int]:
    return {model: len(bundled(model)) for model in MODELS}


def _read(name: str) -> Any:
    return yaml.safe_load((FOLDER / "examples" / f"{name}.yaml").read_text(encoding="utf-8"))


def _listed(name: str) -> Iterator[Example]:
    for label, texts in _read(name).items():
        yield from (Example(text, label, text) for text in texts)


def _pairs() -> Iterator[Example]:
    for kind, pairs in _read("pairs").items():
        for number, pair in enumerate(pairs):
            safe, unsafe = pair.split(" | ")
            yield Example(safe, "answer_helpfully", f"{kind} {number}")
            yield Example(unsafe, "refuse_briefly", f"{kind} {number}")


def _frames() -> Iterator[Example]:
    content = _read("frames")
    rng = Random("frames")
    words = {name: rounds(options, rng) for name, options in content["words"].items()}
    seen: set[str] = set()
    for label, frames in content["frames"].items():
        for frame in frames:
            for _ in range(frame["times"]):
                text = re.sub(r"\{(\w+)\}", lambda slot: str(next(words[slot[1]])), frame["text"])
                if text not in seen:
                    seen.add(text)
                    yield Example(text, label, frame["text"])
