"""Figures on texts of any script and any size: diversity, evidence, prose."""

import pytest

from gristmill.text.diversity import diversity, without_context
from gristmill.text.evidence import EvidenceDepths
from gristmill.text.language_id import prose

WEATHER = ["今天天气很好我们去公园散步吧", "今天天气很好我们去图书馆看书吧", "今天天气很好我们去河边钓鱼吧"]
OTHERS = ["请把这句话翻译成英文并解释语法", "计算三角形的面积需要什么条件", "서울에서 부산까지 얼마나 걸려요"]


def test_scripts_without_spaces_have_words() -> None:
    alike, varied = diversity(WEATHER), diversity(OTHERS)
    assert alike["words_p10_p50_p90"][1] >= 14
    assert alike["self_bleu_4"] > 0.4 > varied["self_bleu_4"] and alike["neighbour"] > 0.3 > varied["neighbour"]
    assert alike["distinct_3"] < 0.8 < varied["distinct_3"]
    assert diversity(["What is 天气?"])["words_p10_p50_p90"] == [5, 5, 5]


@pytest.mark.parametrize("texts", [[], [""], ["", ""], ["\u200b", " "], ["a"], ["?!", "?!"]])
def test_next_to_nothing_has_figures_too(texts: list[str]) -> None:
    assert diversity(texts)["n"] == len(texts)


FUNCTION = "def f(x):\n    return x\n\n"


@pytest.mark.parametrize(
    ("question", "asked"),
    [
        (f'```python\nimport re\n\n{FUNCTION}def g(y):\n    """Doubles.\n\n    >>> g(1)\n    """\n```', "Doubles."),
        (f'```python\n{FUNCTION}```\nthen\n```python\ndef h():\n    """Says hi."""\n```', "Says hi."),
        (f"```python\n{FUNCTION}```\n\nWhat does it do?", "What does it do?"),
        ('```python\n"""A module."""\nx = 1\n```\n\nAnd this?', "And this?"),
    ],
)
def test_the_docstring_of_a_function_is_the_question(question: str, asked: str) -> None:
    assert without_context(question) == asked


def test_half_a_megabyte_that_opens_and_never_closes_is_read_once() -> None:
    """With a search from every opening these would take minutes."""
    code = "```python\n" + 20_000 * FUNCTION
    assert without_context(code) == without_context(code.strip()) != ""
    assert "[" in prose(50_000 * "\\[ ")
    assert len(prose(100_000 * "<a")) == 200_000


def test_evidence_that_is_no_place_counts_nothing() -> None:
    depths = EvidenceDepths()
    depths.add({"tokens": 100, "evidence": [None, "7", -3, 0, 99, 250]})
    depths.add({"tokens": 0, "evidence": [1]})
    assert depths.figures() == {"128": [1, 0, 0, 0, 0, 0, 0, 0, 0, 2]}
