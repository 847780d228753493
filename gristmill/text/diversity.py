"""How varied a set of conversations is: figures per category, on first user questions and on answers.

Yardsticks, measured on public sets of questions written by people (defog, MBPP, XSTest): distinct-3 .54-.71,
self-BLEU-4 .43-.63, median nearest-neighbour Jaccard .14-.27; on templated questions (BBQ): .21, .95, .75.

- distinct-3: different 3-grams / 3-grams (Li et al. 2016, arXiv 1510.03055).
- self-BLEU-4: mean BLEU of each text against all others (Zhu et al. 2018, arXiv 1802.01886), precisions of 1- to
  4-grams, add-one smoothed above unigrams.
- neighbour: median over texts of the largest Jaccard similarity of 3-gram sets to another text.
- opening: the commonest first three words and their share.
- skeleton: the share of the commonest text after masking numbers, quoted strings and capitalised words.

A Chinese, Japanese or Korean character counts as a word, as nothing divides it from the next.
"""

import heapq
import math
import re
from collections import Counter, defaultdict
from itertools import chain
from statistics import median
from typing import Any

from gristmill.text.unicode import IDEOGRAPHS

SAMPLE = 200

_WORD = re.compile(rf"[{IDEOGRAPHS}]|[^\W{IDEOGRAPHS}]+|[^\w\s]")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`")
_NUMBER = re.compile(r"\d[\d.,:%-]*")
_NAME = re.compile(r"(?<![.!?]\s)(?<!^)\b[A-Z]\w*")
_PYTHON = re.compile(r"^```python\n(.*?)(?:^```|\Z)", re.DOTALL | re.MULTILINE)
_FUNCTION = re.compile(r"^def ", re.MULTILINE)
_FENCED = re.compile(r"```.*?```", re.DOTALL)

Grams = Counter[tuple[str, ...]]


class DiversitySample:
    """Keeps, of a stream of conversations, the `SAMPLE` with the smallest uuid per category: a uniform sample."""

    def __init__(self) -> None:
        self._kept: dict[str, list[tuple[int, str, str]]] = defaultdict(list)

    def add(self, category: str, uuid: str, messages: list[dict[str, Any]]) -> None:
        heap = self._kept[category]
        rank = -int(uuid[:15], 16)
        if len(heap) < SAMPLE:
            heapq.heappush(heap, (rank, *_question_and_answer(messages)))
        elif rank > heap[0][0]:
            heapq.heapreplace(heap, (rank, *_question_and_answer(messages)))

    def figures(self) -> dict[str, dict[str, dict[str, Any]]]:
        """{category: {"questions": figures, "answers": figures}}."""
        return {
            category: {
                "questions": diversity([question for _, question, _ in sorted(kept)]),
                "answers": diversity([answer for _, _, answer in sorted(kept)]),
            }
            for category, kept in sorted(self._kept.items())
        }


def _question_and_answer(messages: list[dict[str, Any]]) -> tuple[str, str]:
    question = next((m["content"] for m in messages if m["role"] == "user"), "")
    answer = next((m["content"] for m in reversed(messages) if m["role"] == "assistant"), "")
    return without_context(question), answer


def without_context(question: str) -> str:
    """The question itself: without fenced blocks, and of several paragraphs the one that asks (the last with a `?`).

    A fenced Python function with a docstring is a question too: what it says before its examples.
    """
    if docstring := _docstring(question):
        return " ".join(docstring.partition(">>>")[0].split())
    paragraphs = [p.strip() for p in re.split(r"\n\s*\n", _FENCED.sub("\n\n", question)) if p.strip()]
    asking = [p for p in paragraphs if "?" in p]
    return (asking or paragraphs or [question])[-1]


def _docstring(text: str) -> str:
    """That of the first function in a block of Python; "" where no block has one."""
    for block in _PYTHON.finditer(text):
        function = _FUNCTION.search(block[1])
        _, opened, rest = block[1][function.start() :].partition('"""') if function else ("", "", "")
        said, closed, _ = rest.partition('"""')
        if opened and closed and said:
            return said
    return ""


def diversity(texts: list[str]) -> dict[str, Any]:
    """The figures of the module's docstring over `texts`; those that compare texts are None for fewer than two."""
    tokens = [_WORD.findall(text.lower()) for text in texts]
    orders = [[_grams(words, n) for words in tokens] for n in (1, 2, 3, 4)]
    trigrams = orders[2]
    total = sum(grams.total() for grams in trigrams)
    different = len(set().union(*trigrams)) if trigrams else 0
    openings = Counter(" ".join(words[:3]) for words in tokens)
    skeletons = Counter(_skeleton(text) for text in texts)
    opening, openings_count = openings.most_common(1)[0] if openings else ("", 0)
    lengths = sorted(len(words) for words in tokens)
    several = len(texts) > 1
    return {
        "n": len(texts),
        "distinct_3": round(different / total, 3) if total else None,
        "self_bleu_4": round(_self_bleu(tokens, orders), 3) if several else None,
        "neighbour": round(_neighbour(trigrams), 3) if several else None,
        "opening": opening,
        "opening_share": round(openings_count / len(texts), 3) if texts else None,
        "skeleton_share": round(skeletons.most_common(1)[0][1] / len(texts), 3) if texts else None,
        "words_p10_p50_p90": [lengths[int(q * (len(lengths) - 1))] for q in (0.1, 0.5, 0.9)] if lengths else None,
    }


def _grams(words: list[str], n: int) -> Grams:
    return Counter(zip(*(words[i:] for i in range(n)), strict=False))


def _skeleton(text: str) -> str:
    for mask in (_QUOTED, _NUMBER, _NAME):
        text = mask.sub("_", text)
    return " ".join(text.lower().split())


def _neighbour(trigrams: list[Grams]) -> float:
    """Median over texts of the Jaccard similarity to the most similar other text, through an inverted index."""
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for position, grams in enumerate(trigrams):
        for gram in grams:
            holders[gram].append(position)
    copies = Counter(map(frozenset, trigrams))
    nearest = []
    for position, grams in enumerate(trigrams):
        if grams and copies[frozenset(grams)] > 1:
            nearest.append(1.0)
            continue
        shared = Counter(chain.from_iterable(holders[gram] for gram in grams))
        del shared[position]
        similarities = (n / (len(grams) + len(trigrams[other]) - n) for other, n in shared.items())
        nearest.append(max(similarities, default=0.0))
    return median(nearest)


def _self_bleu(tokens: list[list[str]], orders: list[list[Grams]]) -> float:
    """Mean BLEU-4 of each text against the others. The clipping count is the largest in any *other* text."""
    largest = [_two_largest(counts) for counts in orders]
    lengths = sorted({len(words) for words in tokens})
    scores = []
    for position, words in enumerate(tokens):
        logs = []
        for n, (counts, best) in enumerate(zip(orders, largest, strict=True), start=1):
            own = counts[position]
            matched = 0
            for gram, count in own.items():
                most, holder, second = best[gram]
                matched += min(count, second if holder == position else most)
            smooth = 0 if n == 1 else 1
            precision = (matched + smooth) / (own.total() + smooth) if own.total() + smooth else 0.0
            logs.append(math.log(precision) if precision else -math.inf)
        closest = min(lengths, key=lambda length: (abs(length - len(words)), length))
        brevity = min(0.0, 1 - closest / len(words)) if words else -math.inf
        scores.append(math.exp(brevity + sum(logs) / 4))
    return sum(scores) / len(scores)


def _two_largest(counts: list[Grams]) -> dict[tuple[str, ...], tuple[int, int, int]]:
    """For each n-gram its largest count, the text that has it, and the largest count in any other text."""
    best: dict[tuple[str, ...], tuple[int, int, int]] = {}
    for position, grams in enumerate(counts):
        for gram, count in grams.items():
            most, holder, second = best.get(gram, (0, -1, 0))
            if count > most:
                best[gram] = (count, position, most)
            elif count > second:
                best[gram] = (most, holder, count)
    return best
