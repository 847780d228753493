"""Decontamination without a model: what is found, by which method, and what is left alone."""

import gzip
import os
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.decontamination import Benchmark, Hit, Index, Item, read_benchmark, record_texts
from gristmill.decontamination.code import units
from gristmill.decontamination.planting import WAYS, planted
from gristmill.decontamination.texts import code_in, parse, words_of
from gristmill.errors import ConfigError
from tests.planted import exercises

LONG = (
    "A ferry crosses the strait in forty minutes with the current and in one hour against it. The strait is twelve "
    "kilometres wide, and nobody has ever seen the current change. How fast would the ferry be in still water?"
)
SOLUTION = """import math

def gap(values):
    '''The widest gap between neighbours.'''
    best = 0
    for left, right in zip(values, values[1:]):
        best = max(best, abs(math.floor(right) - left))
    return best


def widest(rows):
    return max((gap(row) for row in rows if len(row) > 2), default=-1)
"""


def index_of(*items: Item, **more: Any) -> Index:
    return Index([Benchmark("bench", "bench.jsonl", "", list(items))], **more)


def methods(index: Index, *texts: str) -> list[tuple[str, str]]:
    return [(hit.item, hit.method) for hit in index.hits(texts)]


# ---- texts


def test_a_question_is_found_word_for_word_wherever_it_stands() -> None:
    index = index_of(Item("ferry", LONG))
    altered = LONG.upper().replace(" ", "\n  ").replace(".", " !")
    assert methods(index, f"Please help me. {altered} Thanks.") == [("ferry", "text")]
    assert methods(index, LONG.replace("forty", "fifty").replace("twelve", "nine")) == [("ferry", "ngram")]
    assert methods(index, "A ferry crosses a strait; how fast would it be in still water?") == []


def test_a_short_question_must_be_a_whole_message() -> None:
    index = index_of(Item("sum", "What is 17 plus 25?"))
    assert methods(index, "what is 17 plus 25") == [("sum", "text")]
    assert methods(index, "He asked what is 17 plus 25, and she laughed.") == []


def test_a_multiple_choice_item_with_a_short_question_needs_its_choices() -> None:
    gases = ("carbon dioxide from the burning of coal", "argon", "neon", "helium")
    index = index_of(Item("gas", "Which gas is it?", gases))
    shuffled = "Which gas is it?\nA) neon\nB) helium\nC) carbon dioxide from the burning of coal\nD) argon"
    assert methods(index, shuffled, "C") == [("gas", "text")]
    assert methods(index, "Which gas is it? It is carbon dioxide from the burning of coal.") == []
    index = index_of(Item("short", "Which gas is it?", ("argon", "neon", "helium", "xenon")))
    assert methods(index, "Which gas is it?\n(A) neon (B) xenon (C) argon (D) helium\nAnswer by letter.") == [
        ("short", "text")
    ]
    assert methods(index, "Which gas is it? Neon, argon or helium?") == []


def test_half_of_the_words_or_fifty_of_them_make_an_ngram_hit() -> None:
    words = [f"w{number}" for number in range(200)]
    index = index_of(Item("half", " ".join(words[:40])), Item("stretch", " ".join(words[40:])))
    assert methods(index, " ".join(words[:19])) == []
    (hit,) = index.hits([" ".join(words[:20])])
    assert hit == Hit("bench", "half", "ngram", 0.5)
    assert methods(index, " ".join(words[60:109])) == []
    (hit,) = index.hits([" ".join(words[60:110])])
    assert hit == Hit("bench", "stretch", "ngram", 0.3125)


def test_the_length_of_the_ngrams_is_a_parameter() -> None:
    words = [f"w{number}" for number in range(12)]
    changed = " ".join([*words[:8], "x", *words[9:]])
    assert methods(index_of(Item("i", " ".join(words)), ngram=8), changed) == [("i", "ngram")]
    assert methods(index_of(Item("i", " ".join(words)), ngram=9), changed) == []


def test_boilerplate_of_a_benchmark_is_no_evidence() -> None:
    phrase = " ".join(f"b{number}" for number in range(30))
    few = [Item(str(n), f"{phrase} u{n}") for n in range(10)]
    assert len(index_of(*few).hits([phrase])) == 10
    assert index_of(*few, Item("10", f"{phrase} u10")).hits([phrase]) == []


def test_words_of_many_scripts() -> None:
    assert words_of("Straße, CAFE\u0301 & ﬁt_well!") == ["strasse", "café", "fit", "well"]
    assert words_of("你好 world, 第5题") == ["你", "好", "world", "第", "5", "题"]
    assert words_of("(A) Is 7 a prime, é?") == ["is", "7", "prime", "é"]
    question = "某船顺流而下需要四十分钟逆流而上需要一小时问静水中的速度"
    assert methods(index_of(Item("ship", question)), f"请回答:{question}。") == [("ship", "text")]


def test_characters_without_a_width_hide_nothing() -> None:
    question = "Natalia sold clips to forty eight of her friends in April"
    hidden = question.replace("alia", "a\u00adlia").replace("forty", "for\u200bty").replace("friends", "fri\u2060ends")
    assert methods(index_of(Item("clips", question)), hidden) == [("clips", "text")]


def test_choices_of_a_word_or_two_or_of_signs_are_looked_for() -> None:
    """No part of them is long enough to be found by, or has words at all."""
    other = Item("other", "a long question about many things that nobody has ever asked before")
    short = Item("short", "Pick one", ("red car", "blue bus", "old ship", "new bike"))
    assert methods(index_of(short, other), "Pick one: red car, blue bus, old ship, new bike.") == [("short", "text")]
    signs = Item("signs", "Which of these means to add numbers?", ("+", "-", "the one below", "none of them"))
    asked = "Think. Which of these means to add numbers? (A) + (B) - (C) the one below (D) none of them. Answer."
    assert methods(index_of(signs, other), asked) == [("signs", "text")]


@given(st.text(), st.text())
def test_any_text_can_be_compared(text: str, other: str) -> None:
    index = index_of(Item("a", text, code=other))
    for hit in index.hits([other, f"```python\n{text}\n```"]):
        assert hit.item == "a"


# ---- code


def same(one: str, other: str) -> bool:
    trees = parse(one), parse(other)
    assert trees[0] is not None and trees[1] is not None
    return {unit.exact for unit in units(trees[0])} == {unit.exact for unit in units(trees[1])}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("def f(a):\n    return a + 1", "def g(b: int) -> int:\n    '''Adds.'''\n    return b + 1  # one", True),
        ("def f(a):\n    return a + 1", "def f(a):\n    return a + 2", False),
        ("def f(a):\n    return len(a)", "def f(a):\n    return sum(a)", False),
        ("def f(a):\n    return a.strip()", "def f(a):\n    return a.lower()", False),
        ("def f(list):\n    return list[0]", "def f(values):\n    return values[0]", True),
        ("def f(a, b):\n    return a - b", "def f(a, b):\n    return b - a", False),
        ("import math\ndef f(a):\n    return math.pi", "import math as m\ndef f(x):\n    return m.pi", True),
        ("def f(a):\n    return sorted(a, reverse=True)", "def f(a):\n    return sorted(a, key=True)", False),
        (
            "def f(a):\n    return h(a)\ndef h(b):\n    return b",
            "def k(b):\n    return b\ndef f(a):\n    return k(a)",
            True,
        ),
        (
            "class A:\n    def go(self):\n        self.n = self.step()\n    def step(self):\n        return 1",
            "class B:\n    def run(self):\n        self.m = self.one()\n    def one(self):\n        return 1",
            True,
        ),
        (
            "class A:\n    def __init__(self, data):\n        self.data = data",
            "class A:\n    def __init__(self, value):\n        self.data = value",
            True,
        ),
        (
            "def f(a: int):\n    return a + 1",
            "class Solution:\n    def add(self, n):\n        return n + 1",
            True,
        ),
        ("x = int(input())\nprint(x + 1)", "value = int(input())\n\nprint(value + 1)", True),
    ],
)
def test_what_is_the_same_program(one: str, other: str, expected: bool) -> None:
    assert same(one, other) is expected


def test_all_functions_of_a_solution_must_be_there() -> None:
    index = index_of(Item("two", code=SOLUTION))
    both = WAYS["reordered"](SOLUTION)
    assert methods(index, f"Sure.\n```python\n{both}\n```") == [("two", "code")]
    one = SOLUTION.partition("def widest")[0].replace("values", "zs").replace("best", "b").replace("left", "l")
    assert methods(index, f"```python\n{one}\n```") == []


def test_other_literals_count_for_large_functions_only() -> None:
    large = SOLUTION.partition("def widest")[0]
    small = "def f(a):\n    return [v * 3 for v in a]"
    index = index_of(Item("large", code=large), Item("small", code=small))
    assert methods(index, f"```\n{large.replace('= 0', '= 7')}\n```") == [("large", "code")]
    assert methods(index, f"```\n{small}\n```") == [("small", "code")]
    assert methods(index, f"```\n{small.replace('3', '4')}\n```") == []


def test_code_is_found_without_fences_in_calls_and_before_prose() -> None:
    index = index_of(Item("two", code=SOLUTION))
    bare = f"Use this.\n\n{WAYS['renamed'](SOLUTION)}\nIt's quick, isn't it?"
    assert methods(index, bare) == [("two", "code")]
    call = {"function": {"name": "run", "arguments": orjson.dumps({"files": [WAYS["renamed"](SOLUTION)]}).decode()}}
    texts = record_texts([{"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [call]}])
    assert texts[0] == "hm" and methods(index, *texts) == [("two", "code")]
    assert list(code_in("```sql\nSELECT 1\n```\n```py\nx = 1\n```")) == ["x = 1\n"]


def test_code_that_no_parser_takes_is_compared_by_tokens() -> None:
    broken = SOLUTION.replace("return best", "return best best")
    assert methods(index_of(Item("two", code=SOLUTION)), f"```python\n{broken}\n```") == [("two", "ngram")]


@pytest.mark.parametrize(
    "code", ["x = " + "(" * 5000 + ")" * 5000, "x = 1\0", "x = " + "+".join("1" * 1200), "x = 0x" + "f" * 9999]
)
def test_code_that_breaks_a_parser_or_a_walk_is_survived(code: str) -> None:
    index = index_of(Item("two", code=SOLUTION), Item("data", code=code))
    assert index.hits([f"```python\ny = 2\n{code}\n```"]) in ([], [Hit("bench", "data", "ngram", 1.0)])


# ---- reading benchmarks


ROWS: list[tuple[dict[str, Any], Item]] = [
    (
        {"task_id": "HumanEval/0", "prompt": "def f(x):\n    '''Adds.'''\n", "canonical_solution": "    return x\n"},
        Item("HumanEval/0", "def f(x):\n    '''Adds.'''\n", code="def f(x):\n    '''Adds.'''\n    return x\n"),
    ),
    (
        {"text": "Write it.", "code": "def f():\r\n  return 1", "task_id": 7},
        Item("7", "Write it.", code="def f():\r\n  return 1"),
    ),
    (
        {"code": "def f(a):\n    return a", "input": "1", "output": "1", "id": "s0"},
        Item("s0", code="def f(a):\n    return a"),
    ),
    ({"question_content": "Sort.", "question_id": "abc", "starter_code": ""}, Item("abc", "Sort.")),
    (
        {"question": "How many?", "answer": "She has 3.\n#### 3"},
        Item("line 1", "How many?", answer="She has 3.\n#### 3"),
    ),
    ({"question": "Which?", "choices": ["a", "b"], "answer": 1}, Item("line 1", "Which?", ("a", "b"))),
    (
        {"id": "q", "question": "Which?", "choices": {"text": ["a", "b"], "label": ["A", "B"]}},
        Item("q", "Which?", ("a", "b")),
    ),
    ({"question": "Which?", "A": "x", "B": "y", "answer": "A"}, Item("line 1", "Which?", ("x", "y"), "A")),
    ({"question": "Which?", "opa": "x", "opb": "y"}, Item("line 1", "Which?", ("x", "y"))),
    ({"problem": "Solve.", "solution": "We see it."}, Item("line 1", "Solve.", answer="We see it.")),
    ({"messages": [{"role": "user", "content": "Say it."}]}, Item("line 1", "Say it.")),
]


@pytest.mark.parametrize(("row", "item"), ROWS)
def test_fields_are_found_by_name(row: dict[str, Any], item: Item, tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_bytes(orjson.dumps(row) + b"\n")
    assert read_benchmark(str(tmp_path / "b.jsonl")).items == [item]


def test_every_kind_of_file_gives_the_same_items(tmp_path: Path) -> None:
    rows = [{"id": str(number), "question": f"What is {number}?"} for number in range(3)]
    lines = b"\n".join(map(orjson.dumps, rows))
    (tmp_path / "a.jsonl").write_bytes(lines)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "c.json").write_bytes(orjson.dumps(rows))
    (tmp_path / "d.json").write_bytes(orjson.dumps({"version": 1, "data": rows}))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "e.parquet")
    read = [read_benchmark(str(path)) for path in sorted(tmp_path.iterdir())]
    assert [benchmark.name for benchmark in read] == list("abcde")
    assert all(benchmark.items == read[0].items and len(benchmark.items) == 3 for benchmark in read)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.txt", b"", "is no .jsonl"),
        ("x.jsonl", b'{"a": 1}', "line 1 is no item of a benchmark"),
        ("x.jsonl", b'{"question": "a"}\n{broken', "line 2 is not valid JSON"),
        ("x.jsonl.gz", b"plain", "can't be read"),
        ("x.json", b"[1]", "row 1 is no item"),
        ("x.jsonl", b"", "holds no items"),
    ],
)
def test_a_benchmark_that_cannot_be_read_whole_is_refused(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        read_benchmark(str(tmp_path / name))


def test_a_missing_benchmark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.jsonl doesn't exist"):
        read_benchmark(str(tmp_path / "none.jsonl"))


# ---- real benchmarks


FILES = (
    "HumanEval.jsonl.gz", "mbpp_1_510.jsonl", "cruxeval_0_399.jsonl", "livecodebench_fewshot_func.json",
    "livecodebench_fewshot_stdin.json",
)  # fmt: skip


@pytest.fixture(scope="module")
def real() -> Index:
    folder = Path(os.environ["GRISTMILL_SHARED"]) / "code_benchmarks"
    return Index([read_benchmark(str(folder / name)) for name in FILES])


@pytest.mark.shared
def test_the_real_benchmarks_are_read_whole(real: Index) -> None:
    assert [len(benchmark.items) for benchmark in real.benchmarks] == [164, 510, 400, 2, 2]
    assert all(item.code for benchmark in real.benchmarks for item in benchmark.items)


@pytest.mark.shared
@pytest.mark.parametrize("way", WAYS)
def test_planted_copies_are_caught(way: str, real: Index) -> None:
    caught = total = 0
    for benchmark in real.benchmarks:
        for item in benchmark.items:
            total += 1
            caught += any(hit[:2] == (benchmark.name, item.id) for hit in real.hits(planted(item, way)))
    assert caught >= 0.95 * total, f"{caught} of {total}"


@pytest.mark.shared
def test_clean_exercises_are_left_alone(real: Index) -> None:
    flagged = [texts for texts in exercises(1000, seed=7) if real.hits(texts)]
    assert len(flagged) <= 10, flagged[:3]


@pytest.mark.shared
def test_items_of_one_benchmark_are_clean_for_the_others(real: Index) -> None:
    """But for a handful of problems that are in two of them, such as Fibonacci numbers."""
    flagged = 0
    for benchmark in real.benchmarks:
        for item in benchmark.items:
            hits = real.hits([item.question, f"```python\n{item.code}\n```"])
            flagged += any(hit.benchmark != benchmark.name for hit in hits)
    assert flagged <= 10
