"""Benchmarks as an index that a record's texts are held against, in one pass and without a model.

    index = Index([read_benchmark("HumanEval.jsonl.gz")])
    index.hits(record_texts(messages))    # [Hit("HumanEval", "HumanEval/12", "code", 1.0)]

text    the question stands in the record word for word (a short multiple-choice question together with its choices);
        what has fewer than eight words must be a whole message
code    every function of the solution occurs in the record, under the fingerprints of code.py, in any order
ngram   n-grams shared with the record cover half of the question's or the answer's words, or 50 of them, or half of the
        solution's tokens (at least two n-grams' worth: thirteen tokens are a line that many programs have); n-grams of
        more than ten items of one benchmark are its boilerplate and don't count

The n-grams of the benchmarks are kept as 64-bit hashes, and a record's are tested against them without being kept.

Source: 13-grams from Brown et al. 2020 (https://arxiv.org/abs/2005.14165, appendix C), where one shared n-gram was
enough; the share that must be covered follows Chowdhery et al. 2022 (https://arxiv.org/abs/2204.02311, section 8) and
spares records that merely use the same set phrase.
"""

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from gristmill.decontamination.benchmarks import Benchmark, Item
from gristmill.decontamination.code import units
from gristmill.decontamination.texts import code_in, code_tokens, parse, words_of

NGRAM = 13
COVERED = 0.5
STRETCH = 50  # words
BOILERPLATE = 10  # items
SHORTEST = 8  # words that may be looked for inside a message
ANCHOR = 3  # words by which a question is found before it is compared
SMALLEST = 12  # nodes of a function that counts with its literals
SMALLEST_MASKED = 40  # nodes of a function that counts without them

Method = Literal["text", "code", "ngram", "similarity"]
METHODS: tuple[Method, ...] = ("text", "code", "ngram", "similarity")

Place = tuple[int, int]  # of an item: its benchmark's number, its own


class Hit(NamedTuple):
    """A record gives away an item; `score` is 1 for exact methods, the covered share, or the cosine similarity."""

    benchmark: str
    item: str
    method: Method
    score: float

    def __str__(self) -> str:
        return f"{self.benchmark}: {self.item}, {self.method} {self.score:.2f}"


class Index:
    def __init__(self, benchmarks: Sequence[Benchmark], ngram: int = NGRAM) -> None:
        self.benchmarks = benchmarks
        self._texts = _Texts(benchmarks)
        self._code = _Code(benchmarks)
        self._words = _Grams(_word_sequences(benchmarks), ngram, least=ngram, stretch=STRETCH)
        self._tokens = _Grams(_token_sequences(benchmarks), ngram, least=2 * ngram, stretch=None)

    def hits(self, texts: Iterable[str]) -> list[Hit]:
        """One hit per item that the texts of a record give away, by the first method that finds it."""
        texts = list(texts)
        messages = [words_of(text) for text in texts]
        pieces = [code for text in texts for code in code_in(text)]
        words = messages[0] if len(messages) == 1 else [word for message in messages for word in message]
        tokens = [token for code in pieces for token in code_tokens(code)]
        found: dict[Place, Hit] = {}
        self._enter(found, "text", ((place, 1.0) for place in self._texts.find(messages, words)))
        self._enter(found, "code", ((place, 1.0) for place in self._code.find(pieces)))
        self._enter(found, "ngram", self._words.find(words))
        self._enter(found, "ngram", self._tokens.find(tokens))
        return [found[place] for place in sorted(found, key=lambda place: (METHODS.index(found[place].method), place))]

    def hit(self, place: Place, method: Method, score: float) -> Hit:
        benchmark = self.benchmarks[place[0]]
        return Hit(benchmark.name, benchmark.items[place[1]].id, method, round(score, 4))

    def _enter(self, found: dict[Place, Hit], method: Method, places: Iterable[tuple[Place, float]]) -> None:
        for place, score in places:
            if place not in found:
                found[place] = self.hit(place, method, score)


def items_of(benchmarks: Sequence[Benchmark]) -> Iterator[tuple[Place, Item]]:
    for number, benchmark in enumerate(benchmarks):
        for position, item in enumerate(benchmark.items):
            yield (number, position), item


def _grams(words: Sequence[str], n: int) -> Iterator[int]:
    """The hashes of all runs of n words."""
    return map(hash, zip(*(words[start:] for start in range(n)), strict=False))


class _Texts:
    """Questions word for word. Each is filed under its rarest run of `ANCHOR` words, and compared where that occurs."""

    def __init__(self, benchmarks: Sequence[Benchmark]) -> None:
        parts = {place: _parts(item) for place, item in items_of(benchmarks)}
        common = Counter(gram for texts in parts.values() for words in texts for gram in _grams(words, ANCHOR))
        self._whole: defaultdict[int, list[Place]] = defaultdict(list)
        self._longest = 0  # words of these
        self._anchored: defaultdict[int, list[tuple[Place, list[str]]]] = defaultdict(list)
        for place, texts in parts.items():
            anchors = [gram for words in texts for gram in _grams(words, ANCHOR)]
            if anchors and sum(map(len, texts)) >= SHORTEST:
                self._anchored[min(anchors, key=common.__getitem__)].append((place, [_line(words) for words in texts]))
            elif any(texts):
                whole = tuple(word for words in texts for word in words)
                self._whole[hash(whole)].append(place)
                self._longest = max(self._longest, len(whole))

    def find(self, messages: list[list[str]], words: list[str]) -> Iterator[Place]:
        for message in messages:
            if len(message) <= self._longest:
                yield from self._whole.get(hash(tuple(message)), ())
        if self._anchored.keys().isdisjoint(_grams(words, ANCHOR)):
            return
        line = _line(words)
        for gram in self._anchored.keys() & set(_grams(words, ANCHOR)):
            yield from (place for place, parts in self._anchored[gram] if all(part in line for part in parts))


def _parts(item: Item) -> list[list[str]]:
    """What must stand in a record: a long question alone, a short one with its choices (as far as they have words)."""
    question = words_of(item.question)
    if len(question) >= SHORTEST or not item.choices:
        return [question]
    return [question, *filter(None, map(words_of, item.choices))]


def _line(words: list[str]) -> str:
    return f" {' '.join(words)} "


class _Code:
    """Solutions by the fingerprints of their functions."""

    def __init__(self, benchmarks: Sequence[Benchmark]) -> None:
        self._needed: dict[Place, int] = {}
        self._exact: defaultdict[int, set[tuple[Place, int]]] = defaultdict(set)
        self._masked: defaultdict[int, set[tuple[Place, int]]] = defaultdict(set)
        for place, item in items_of(benchmarks):
            tree = parse(item.code) if item.code else None
            telling = [unit for unit in units(tree) if unit.size >= SMALLEST] if tree is not None else []
            self._needed[place] = len(telling)
            for number, unit in enumerate(telling):
                self._exact[unit.exact].add((place, number))
                if unit.size >= SMALLEST_MASKED:
                    self._masked[unit.masked].add((place, number))

    def find(self, pieces: list[str]) -> Iterator[Place]:
        if not self._exact:
            return
        found: set[tuple[Place, int]] = set()
        for code in pieces:
            tree = parse(code)
            for unit in units(tree) if tree is not None else ():
                found |= self._exact.get(unit.exact, _NONE) | self._masked.get(unit.masked, _NONE)
        counts = Counter(place for place, _ in found)
        yield from sorted(place for place, count in counts.items() if count == self._needed[place])


_NONE: set[tuple[Place, int]] = set()


class _Grams:
    """Sequences of words or tokens by their n-grams; each sequence belongs to an item.

    Half of a sequence must be covered, which must be at least `least` words; or a stretch of `stretch` words.
    """

    def __init__(
        self, sequences: Iterable[tuple[Place, list[str]]], n: int, *, least: int, stretch: int | None
    ) -> None:
        self._n = n
        self._least = least
        self._stretch = stretch
        self._sequences: list[tuple[Place, array[int]]] = []
        self._postings: dict[int, tuple[int, ...]] = {}
        boilerplate: Counter[tuple[int, int]] = Counter()
        for place, words in sequences:
            grams = array("q", _grams(words, n))
            for gram in set(grams):
                boilerplate[place[0], gram] += 1
                self._postings[gram] = (*self._postings.get(gram, ()), len(self._sequences))
            self._sequences.append((place, grams))
        for (_, gram), items in boilerplate.items():
            if items > BOILERPLATE:
                self._postings.pop(gram, None)

    def find(self, words: list[str]) -> Iterator[tuple[Place, float]]:
        """Items of which enough is covered, with the share that is."""
        if self._postings.keys().isdisjoint(_grams(words, self._n)):
            return
        shared = self._postings.keys() & set(_grams(words, self._n))
        for number in sorted({number for gram in shared for number in self._postings[gram]}):
            place, grams = self._sequences[number]
            covered = _covered(grams, shared, self._n)
            size = len(grams) + self._n - 1
            if covered >= max(COVERED * size, self._least) or (self._stretch and covered >= self._stretch):
                yield place, covered / size


def _covered(grams: "array[int]", shared: set[int], n: int) -> int:
    """How many words of a sequence lie in n-grams that are shared."""
    covered, end = 0, 0
    for start, gram in enumerate(grams):
        if gram in shared:
            covered += start + n - max(start, end)
            end = start + n
    return covered


def _word_sequences(benchmarks: Sequence[Benchmark]) -> Iterator[tuple[Place, list[str]]]:
    for place, item in items_of(benchmarks):
        yield place, words_of("\n".join((item.question, *item.choices)))
        if item.answer:
            yield place, words_of(item.answer)


def _token_sequences(benchmarks: Sequence[Benchmark]) -> Iterator[tuple[Place, list[str]]]:
    for place, item in items_of(benchmarks):
        if item.code:
            yield place, code_tokens(item.code)
