"""Similarity by embeddings: what was retold in other words, or solved anew, is found here and nowhere else.

Problem and solution together are one text, of an item and of each exchange of a record; the largest cosine similarity
of any two counts. A threshold belongs to the model that it was measured with (see calibration.py).

Source: Nemotron 3 Super report, section 3.1 (problem with solution, Qwen3-Embedding-0.6B).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gristmill.decontamination.benchmarks import Benchmark
from gristmill.decontamination.index import Hit, items_of
from gristmill.decontamination.texts import code_in
from gristmill.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]

LONGEST_PART = 2000  # characters of a problem, and of a solution: about what a small embedder reads


def passage(problem: str, solution: str) -> str:
    """One text of both. Of a solution with code, the code: what is said around it differs in every record."""
    code = "\n".join(code_in(solution)) if "```" in solution else ""
    return f"{problem[:LONGEST_PART]}\n{(code or solution)[:LONGEST_PART]}".strip()


def record_passages(messages: Iterable[Mapping[str, Any]]) -> list[str]:
    """Of each user turn with the answer that follows it; of a conversation without users, the first content."""
    turns = [message for message in messages if message.get("content")]
    return list(_exchanges(turns)) or [passage(str(turn["content"]), "") for turn in turns[:1]]


def _exchanges(turns: list[Mapping[str, Any]]) -> Iterator[str]:
    asked = ""
    for turn in turns:
        if turn["role"] == "user":
            if asked:
                yield passage(asked, "")
            asked = str(turn["content"])
        elif turn["role"] == "assistant" and asked:
            yield passage(asked, str(turn["content"]))
            asked = ""
    if asked:
        yield passage(asked, "")


def benchmark_passages(benchmarks: Sequence[Benchmark]) -> list[str]:
    """One per item, in their order."""
    return [
        passage("\n".join((item.question, *item.choices)), item.code or item.answer) for _, item in items_of(benchmarks)
    ]


class Neighbours:
    """The items as vectors."""

    def __init__(self, benchmarks: Sequence[Benchmark], vectors: Sequence[Sequence[float]]) -> None:
        self._items = [(benchmarks[place[0]].name, item.id) for place, item in items_of(benchmarks)]
        self._matrix = unit_rows(vectors)

    def nearest(self, vectors: Sequence[Sequence[float]]) -> list[Hit]:
        """For each vector the item that is most like it, with the cosine similarity as the score."""
        if not vectors:
            return []
        scores = unit_rows(vectors) @ self._matrix.T
        best = scores.argmax(1).tolist()
        nearest = [(*self._items[item], float(row[item])) for item, row in zip(best, scores, strict=True)]
        return [Hit(benchmark, item, "similarity", round(score, 4)) for benchmark, item, score in nearest]

    def similarities(self, vectors: Sequence[Sequence[float]], items: Sequence[int]) -> list[float]:
        """The cosine similarity of each vector to one item, named by its number among all."""
        scores: list[float] = (unit_rows(vectors) * self._matrix[list(items)]).sum(1).tolist()
        return scores


def unit_rows(vectors: Sequence[Sequence[float]]) -> "Matrix":
    """The vectors as a matrix, each at length one."""
    try:
        import numpy as np
    except ImportError:
        raise ConfigError("similarity needs numpy: pip install 'gristmill[embedder]'.") from None
    rows: Matrix = np.asarray(vectors, np.float32)
    rows /= np.maximum(np.sqrt((rows * rows).sum(1, keepdims=True)), np.float32(1e-12))
    return rows
