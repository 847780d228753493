"""How well the light classifiers of the generator safety do on sets that they never saw, and what they cost.

    GRISTMILL_SHARED=FOLDER python benchmarks/safety.py

Prints the confusion matrices and figures of docs/safety.md, beside a bag-of-words model that learned from the same
examples. Annotations of the sets are not used. Needs the extras embedder and safety.
"""

import gzip
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from generators.safety.classifiers import BUNDLED, classify
from generators.safety.classifiers.examples import bundled
from generators.safety.inference import INJECTED, Thresholds, decide, injection
from generators.safety.policies import POLICIES
from generators.safety.prompt import Prompt
from generators.safety.sources import SLOT, agentdojo_texts, agentdojo_vectors, fill, read_prompts
from gristmill.text.unicode import plain

BBQ_STEP = 40
ROOT = Path(__file__).parents[1]


def main() -> None:
    shared = Path(os.environ["GRISTMILL_SHARED"]) / "safety"
    sets = {"XSTest": read(shared / "xstest_1_200.csv"), "HarmBench": read(shared / "harmbench_standard.csv")}
    sets |= {f"BBQ {name}": read_packed(shared / f"bbq/{name}.jsonl.gz")[::BBQ_STEP] for name in ("Age", "Nationality")}
    words = bag_of_words()
    for name, prompts in sets.items():
        print(f"\n{name}")
        for label in sorted({prompt.label for prompt in prompts}):
            texts = [prompt.text for prompt in prompts if prompt.label == label]
            for kind, found in (("light", light(texts)), ("words", words(texts))):
                counts = Counter(found)
                cells = " ".join(f"{policy}={counts[policy]}" for policy in [*POLICIES, None] if counts[policy])
                print(f"  {label or 'all':6} {kind}: n={len(texts)} {cells}")
    injections(shared / "agentdojo/workspace")
    speed([prompt.text for prompt in sets["XSTest"]])


def read(path: Path) -> list[Prompt]:
    return [prompt for prompt in read_prompts(str(path)) if isinstance(prompt, Prompt)]


def read_packed(path: Path) -> list[Prompt]:
    with TemporaryDirectory() as folder:
        unpacked = Path(folder) / "rows.jsonl"
        unpacked.write_bytes(gzip.decompress(path.read_bytes()))
        return read(unpacked)


def light(texts: Sequence[str]) -> list[Any]:
    scores = classify("prompt", [plain(text) for text in texts])
    prompts = [Prompt(source="bench", text=text) for text in texts]
    return [decide(one, score, 0.0, Thresholds()).policy for one, score in zip(prompts, scores, strict=True)]


def bag_of_words() -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    examples = bundled("prompt")
    model = make_pipeline(
        TfidfVectorizer(token_pattern=r"\w+"), LogisticRegression(C=10, max_iter=2000, class_weight="balanced")
    )
    model.fit([example.text for example in examples], [example.label for example in examples])
    return lambda texts: model.predict(list(texts)).tolist()


def injections(folder: Path) -> None:
    vectors = agentdojo_vectors(folder)
    texts = [text for _, text in agentdojo_texts(folder)]
    false = [text for text in texts if injection([fill(text, vectors)], BUNDLED) >= INJECTED]
    print(f"\nInjections\n  false alarms: {len(false)} of {len(texts)} texts with the slots' defaults")
    kinds = yaml.safe_load((ROOT / "tests/data/safety_injections.yaml").read_text(encoding="utf-8"))
    hosts = [(text, slot) for text in texts for slot in SLOT.findall(text) if slot in vectors]
    for kind, orders in kinds.items():
        planted = [fill(text, {**vectors, slot: order}) for text, slot in hosts for order in orders]
        found = sum(injection([text], BUNDLED) >= INJECTED for text in planted)
        print(f"  {kind}: {found} of {len(planted)}")


def speed(texts: list[str]) -> None:
    classify("prompt", texts[:8])
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        classify("prompt", texts)
        seconds.append(time.perf_counter() - begin)
    print(f"\nSpeed: {len(texts) / median(seconds):.0f} prompts a second in one batch (median of 5)")


if __name__ == "__main__":
    main()
