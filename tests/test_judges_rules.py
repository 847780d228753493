"""The judges that ask no model: numbers, constraints, language, refusal, repetition, leaks, tool calls, quantiles."""

import csv
import gzip
import json
import random
import re
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill import Record, RunJudge, Verdict
from gristmill.quantiles import QuantileSketch
from gristmill.testing import Judged, judge_scripted
from gristmill.text.language_id import letters, prose
from judges.claims import final_answer
from judges.constraints import CONSTRAINTS, Other, check, count_sentences, count_words
from judges.difficulty import Difficulty
from judges.difficulty import Params as DifficultyParams
from judges.duplicates import Duplicates
from judges.duplicates import Params as DuplicatesParams
from judges.fields import lookup
from judges.language import Params as LanguageParams
from judges.language import judge_language
from judges.numbers import parse_quantity, same_quantity
from judges.outliers import Outliers
from judges.outliers import Params as OutliersParams
from judges.refusal import phrases
from judges.votes import Groups, normalised
from schemas import Function, FunctionSpec, Tool, ToolCall, assistant, tool, user


def record(answer: str, question: str = "What is it?", trace: str | None = None, **metadata: Any) -> Record:
    return Record(messages=[user(question), assistant(answer, trace)], metadata=metadata)


def judged(name: str, one: Record, folder: Path, **params: Any) -> Judged:
    (found,) = judge_scripted([{"name": name, **params}], [one], folder)
    return found


# --- numbers and texts ---


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("1,234.50", 1234.5, ""),
        ("1 500", 1500, ""),
        ("−7", -7, ""),
        ("(415)", -415, ""),
        ("-$4.2 million", -4.2e6, "USD"),
        ("USD 5", 5, "USD"),
        ("12 %", 12, "%"),
        ("25 bps", 0.25, "%"),
        ("3/4", 0.75, ""),
        ("\\frac{3}{4}", 0.75, ""),
        ("$12$", 12, ""),
        ("2.5e-3", 0.0025, ""),
        ("1.5 km", 1500, "m"),
        ("90 minutes", 5400, "s"),
        ("2 KiB", 2048, "byte"),
        ("12 Apples", 12, "apple"),
        ("1.234,50 €", 1234.5, "EUR"),
        ("1 234,5", 1234.5, ""),
        ("1.234.567", 1234567, ""),
        ("1'234.5", 1234.5, ""),
        ("12,34,567", 1234567, ""),
        ("3 dozen", 36, ""),
        ("24 inches", 0.6096, "m"),
        ("$5M", 5e6, "USD"),
        ("5 MW", 5, "MW"),
        ("5 mW", 5, "mW"),
        ("5 Mb", 5, "Mb"),
    ],
)
def test_numbers_as_people_write_them(text: str, value: float, unit: str) -> None:
    found = parse_quantity(text)
    assert found is not None and found.unit == unit and found.value == pytest.approx(value)


@pytest.mark.parametrize(
    "text", ["", "abc", "1,23", "1/0", "2024-01-02", "about 5", "1.2.3", "(5", "5 to 6", "1e400", "(1, 2)", "1,2,3"]
)
def test_what_is_no_number(text: str) -> None:
    assert parse_quantity(text) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("1.5 km", "1500 m", True),
        ("1.5 km", "1.5", True),
        ("12%", "0.12", True),
        ("12%", "12", True),
        ("12%", "1.2", False),
        ("5 USD", "5 EUR", False),
        ("5 kg", "5 m", False),
        ("2 h", "120 min", True),
        ("1.6e-19 C", "9.1e-31 C", False),
        ("1e-10", "0", False),
        ("5 mg", "5 Mg", False),
        ("8 b", "8 B", False),
        ("5 Nm", "5 nm", False),
        ("5 squared", "5", False),
        ("2 ft", "24 inches", True),
        ("5 apples", "5 apple", True),
    ],
)
def test_quantities_with_units(one: str, other: str, same: bool) -> None:
    first, second = parse_quantity(one), parse_quantity(other)
    assert first and second and same_quantity(first, second) is same and same_quantity(second, first) is same


@given(st.integers(-(10**12), 10**12), st.booleans())
def test_every_integer_is_read_back(number: int, grouped: bool) -> None:
    found = parse_quantity(f"{number:,}" if grouped else str(number))
    assert found is not None and found.value == number and found.unit == ""


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Long reasoning.\n\nFinal Answer: 42", "42"),
        ("**Answer:** Paris.", "Paris"),
        ("**Final Answer: -5**", "-5"),
        ("Answer: $12 %", "$12 %"),
        ("so the answer is = (3)", "(3)"),
        ("So the answer is 42.", "42"),
        ("Work.\n\n#### 42", "42"),
        ("### Answer\n42", "42"),
        ("Not \\boxed{5}.\nFinal answer: 6", "6"),
        ("Answer: 5. Wait, that is wrong.", "Answer: 5. Wait, that is wrong."),
        ("The final answer is: blue", "blue"),
        ("First \\boxed{1}.\n\nThen \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}"),
        ("\\boxed{5} or \\boxed{6}", "5, 6"),
        ("just this", "just this"),
    ],
)
def test_final_answers(text: str, answer: str) -> None:
    assert final_answer(text) == answer


def test_normalisation_and_groups() -> None:
    assert normalised(" The  **Eiffel Tower**. ") == normalised("eiffel tower") == "eiffel tower"
    assert normalised("Paris!") == "paris" and normalised("5!") == "5!" and normalised("Option B") == "option b"
    assert normalised("10²") == "10^2" and normalised("f'") == "f'" and normalised("'a'") == "a"
    assert normalised("5 MW") != normalised("5 mW") and normalised("Route 66") == "route 66"
    groups = Groups(5)
    groups.join(3, 4)
    groups.join(1, 4)
    assert groups.vote().groups == [[1, 3, 4], [0], [2]] and not groups.vote().is_tie


def test_fields() -> None:
    one = record("a", trace="t", sql={"query": "SELECT 1"})
    paths = ("question", "answer", "trace", "metadata.sql.query", "metadata.sql.none", "category")
    assert [lookup(one, path) for path in paths] == ["What is it?", "a", "t", "SELECT 1", None, ""]


# --- constraints ---


@pytest.mark.parametrize(
    ("constraint", "kept", "broken"),
    [
        ({"kind": "length", "of": "words", "at_least": 2, "at_most": 3}, ["one two", "don't stop-gap"], ["one"]),
        ({"kind": "length", "of": "sentences", "at_most": 2}, ["Dr. No paid 3.5. He left!"], ["Stop. Look. Go."]),
        ({"kind": "length", "of": "paragraphs", "at_least": 2}, ["a\n\nb", "a\n \n\nb"], ["a\nb"]),
        ({"kind": "length", "of": "lines", "at_most": 2}, ["a\n\nb"], ["a\nb\nc"]),
        ({"kind": "length", "of": "bullets", "at_least": 2}, ["- a\n* b", "1. a\n2) b"], ["-a\n- b"]),
        ({"kind": "length", "of": "characters", "at_most": 3}, ["abc"], ["abcd"]),
        ({"kind": "format", "is": "json"}, ['{"a": 1}', "```json\n[1]\n```"], ["{'a': 1}", 'Here: {"a": 1}']),
        ({"kind": "format", "is": "bullets"}, ["so:\n- a"], ["a - b"]),
        ({"kind": "format", "is": "numbered_list"}, ["1. a"], ["1.a", "- a"]),
        ({"kind": "format", "is": "headings"}, ["# A\ntext"], ["#A", "text # A"]),
        ({"kind": "format", "is": "table"}, ["| a | b |\n|---|---|\n| 1 | 2 |"], ["a | b", "---"]),
        ({"kind": "format", "is": "code_block"}, ["```py\nx\n```"], ["`x`", "```py\nx"]),
        ({"kind": "format", "is": "plain"}, ["Just text, 2 * 3."], ["**bold**", "# A", "- a", "[a](b)"]),
        ({"kind": "keywords", "present": ["tide"]}, ["The Tide rose"], ["tidewater", "betide"]),
        ({"kind": "keywords", "absent": ["ocean", ","]}, ["the sea"], ["The Ocean!", "a, b"]),
        ({"kind": "keywords", "counts": {"moon": {"at_least": 2, "at_most": 2}}},
         ["moon Moon"], ["moon", "moon moon moon", "moonmoon"]),
        ({"kind": "length", "of": "words", "at_least": 2, "at_most": 2},
         ["3.14 pi", "1,000 dogs", "cafe\u0301 nai\u0308ve", "नमस्ते दुनिया", "U.S.A. - user_name"],
         ["one", "a—b—c"]),
        ({"kind": "length", "of": "sentences", "at_least": 2, "at_most": 2},
         ["क्या हाल है। ठीक है।", "At 5 p.m. we met. Bye."], ["At 5 p.m. we met."]),
        ({"kind": "length", "of": "bullets", "at_most": 1}, ["- a\n\n- - -", "```\n- x\n- y\n```\n– a"], ["– a\n• b"]),
        ({"kind": "length", "of": "characters", "at_most": 5}, ["he\u0301llo"], ["hélloo"]),
        ({"kind": "format", "is": "json"}, ["```JSON\n{}\n```"], ['{"a": NaN}', "[Infinity]"]),
        ({"kind": "format", "is": "headings"}, ["Title\n=====\ntext"], ["```\n# a comment\n```"]),
        ({"kind": "format", "is": "table"}, ["|a|b|\n|-|-|\n|1|2|", "a | b\n- | -\n1 | 2"], ["```\n|a|\n|-|\n```"]),
        ({"kind": "format", "is": "code_block"}, ["~~~\nx\n~~~", "  ```\n  x\n  ```"], []),
        ({"kind": "format", "is": "plain"}, ["a_b_c and x * y * z", "2 ** 3 ** 4", "5 > 3"],
         ["*italic* text", "_so_", "`code`", "> quoted", "__so__"]),
        ({"kind": "keywords", "present": ["in the end", "don't", "東京"]},
         ["In\nthe end I don’t; 私は東京に住む"], ["東京"]),
        ({"kind": "keywords", "absent": ["straße", "東京"]}, ["Gasse"], ["STRASSE", "私は東京に住む"]),
        ({"kind": "start", "text": "Dear "}, ["dear all"], ["Dearest"]),
        ({"kind": "end", "text": "bye"}, ["Good bye"], ["Goodbye"]),
        ({"kind": "language", "is": "zh"}, ["你好，世界。"], ["Hello there, world."]),
        ({"kind": "case", "is": "lower"}, ["all small 1"], ["All small"]),
        ({"kind": "case", "is": "upper"}, ["LOUD!"], ["LOUd"]),
        ({"kind": "case", "is": "title"}, ["A Tale Of 2 Cities"], ["A tale"]),
        ({"kind": "start", "text": "Dear reader"}, ["dear Reader, ..."], ["My dear reader"]),
        ({"kind": "end", "text": "The end."}, ["It was. The End."], ["The end. Or not"]),
        ({"kind": "language", "is": "de"}, ["Das Meer war an diesem Morgen ganz ruhig."],
         ["The sea was very calm this morning.", "42"]),
    ],
)  # fmt: skip
def test_constraints(constraint: dict[str, Any], kept: list[str], broken: list[str]) -> None:
    (parsed,) = CONSTRAINTS.validate_python([constraint])
    assert not isinstance(parsed, Other)
    assert [check(parsed, text) for text in kept] == [""] * len(kept)
    assert all(check(parsed, text) for text in broken)


def test_words_and_sentences_of_other_scripts() -> None:
    assert count_words("短い文です") == 5 and count_words("naïve co-op isn't") == 3
    assert count_sentences("短い文です。次の文です。") == 2 and count_sentences("No end mark") == 1


def test_instructions_have_a_verdict_each(tmp_path: Path) -> None:
    constraints = [{"kind": "case", "is": "lower"}, {"kind": "end", "text": "bye"}, {"kind": "start", "text": "hi"}]
    found = judged("instruction_following", record("hi there", constraints=constraints), tmp_path)
    assert {name: v.passed for name, v in found.verdicts.items()} == {
        "instruction_following.1_case": True, "instruction_following.2_end": False,
        "instruction_following.3_start": True, "instruction_following": False,
    }  # fmt: skip
    assert found.verdicts["instruction_following"].score == pytest.approx(2 / 3, abs=1e-4)


# --- language ---

ENGLISH = "The lighthouse keeper wrote a letter to his sister every Sunday evening."
GERMAN = "Der Leuchtturmwärter schrieb jeden Sonntagabend einen Brief an seine Schwester."


@pytest.mark.parametrize(
    ("answer", "params", "passed"),
    [
        (ENGLISH, {"expected": ["en"]}, True),
        (GERMAN, {"expected": ["en"]}, False),
        (GERMAN, {"expected": ["en", "de"]}, True),
        (f"{ENGLISH}\n\n{GERMAN}\n\n{ENGLISH}", {"expected": ["en"]}, False),
        (f"{ENGLISH} {GERMAN}", {"expected": ["en"]}, False),
        (f"{ENGLISH} 今天早上河水非常平静，船只一艘接一艘地离开了古老的港口。", {"expected": ["en"]}, False),
        (f"今天早上河水非常平静，船只离开了港口。{ENGLISH}", {"expected": ["zh"]}, False),
        ("The Greek word λόγος means reason, and 東京 is Tokyo, as everybody knows.", {"expected": ["en"]}, True),
        (f"{ENGLISH}\n\n```\n{GERMAN}\n```", {"expected": ["en"]}, True),
        ("42", {"expected": ["en"]}, True),
        ("```python\nimport os\n```", {"expected": ["de"]}, True),
        ("Ja.", {"expected": ["de"]}, None),
        ("Ja.", {"expected": ["de"], "short": "pass"}, True),
        (ENGLISH, {}, True),
        (GERMAN, {}, False),
    ],
)
def test_language(tmp_path: Path, answer: str, params: dict[str, Any], passed: bool | None) -> None:
    one = record(answer, question="Please tell me something about the people who lived in lighthouses.")
    assert judged("language", one, tmp_path, **params).verdicts["language"].passed is passed


@pytest.mark.shared
def test_the_language_of_real_questions(shared_data: Path) -> None:
    """Of 900 English questions one at most fails as English, and one at most passes as another language."""
    with (shared_data / "safety/xstest_1_200.csv").open(newline="") as rows:
        texts = [row["prompt"] for row in csv.DictReader(rows)]
    with (shared_data / "code_benchmarks/mbpp_1_510.jsonl").open() as lines:
        texts += [json.loads(line)["text"] for line in lines]
    with (shared_data / "finance/docugami_10q/questions.csv").open(newline="") as rows:
        texts += [row["Question"] for row in csv.DictReader(rows)]
    params = LanguageParams()
    found = Counter(judge_language(text, ["en"], params).passed for text in texts)
    assert len(texts) > 900 and found[False] <= 1 and found[None] <= 20, found
    for language in ("de", "fr", "es", "nl", "sv", "zh"):
        wrong = sum(judge_language(text, [language], params).passed is True for text in texts)
        assert wrong <= 1, (language, wrong)


@pytest.mark.shared
def test_english_full_of_foreign_names_stays_english(shared_data: Path) -> None:
    texts = []
    for name in ("factbook_africa_europe", "sqlite_docs"):
        with gzip.open(shared_data / f"long_context/{name}.jsonl.gz", "rt") as lines:
            texts += [
                max(filter(None, json.loads(line).values()), key=lambda v: len(str(v))) for line in islice(lines, 20)
            ]
    params, sentences = LanguageParams(short="pass"), 0
    for text in texts:
        for sentence in re.split(r"(?<=[.!?])\s+|\s*\n\s*", prose(str(text)[:4000])):
            sentences += letters(sentence) >= 20
            assert judge_language(sentence, ["en"], params).passed is not False, sentence
    assert sentences > 1000


# --- refusal ---


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("I'm sorry, but I can't help with that.", "refused"),
        ("I cannot provide instructions for making weapons.", "refused"),
        ("I’m unable to assist with this request.", "refused"),
        ("I must decline. This would hurt people.", "refused"),
        ("That isn't something I can do; it goes against my guidelines.", "refused"),
        ("I won't write that.", "refused"),
        ("As an AI language model, I have no favourite colour.", "unclear"),
        ("Unfortunately the museum is closed on Mondays.", "unclear"),
        ("You can't divide by zero, so the limit doesn't exist.", "answered"),
        ("To kill a Python process, use `kill` with its pid.", "answered"),
        ("She said: it can't help. The engine was dead.", "answered"),
        ("I refuse.", "refused"),
        ("My guidelines don't allow me to answer.", "refused"),
        ("It would be irresponsible of me to explain that.", "refused"),
        ("I don't think I should answer this.", "refused"),
        ("I'd rather not.", "refused"),
        ("Lo siento, pero no puedo ayudar con eso.", "unclear"),
        ("申し訳ありませんが、お手伝いできません。", "unclear"),
        ('The knight said: "I cannot help you." Then he left.', "unclear"),
        ("I can't help but smile. The answer is 4.", "answered"),
        ("I cannot stress enough how important it is to write tests.", "answered"),
        ("I won't bore you; the answer is 4.", "answered"),
        ("If I refuse to pay, what happens? You may be sued.", "answered"),
        ("I can't give you the exact date, but " + "here is what is known of the voyage. " * 20, "unclear"),
    ],
)
def test_phrases_of_refusal(text: str, kind: str) -> None:
    assert phrases(text)[0] == kind


def test_refusals_may_be_wanted(tmp_path: Path) -> None:
    one = record("I'm sorry, but I can't help with that.")
    assert judged("refusal", one, tmp_path).fault == "refusal/failed"
    assert judged("refusal", one, tmp_path, want="refusal").status == "accepted"
    assert judged("refusal", record("It is Paris."), tmp_path, want="refusal").fault == "refusal/failed"
    assert judged("refusal", record("Sorry, no idea."), tmp_path).fault == "refusal/undecided"


@pytest.mark.shared
def test_ordinary_texts_are_no_refusals(shared_data: Path) -> None:
    """Programming problems and questions that people ask: none of them declines anything."""
    with gzip.open(shared_data / "code_benchmarks/HumanEval.jsonl.gz", "rt") as lines:
        texts = [json.loads(line)["prompt"] for line in lines]
    with (shared_data / "safety/xstest_1_200.csv").open(newline="") as rows:
        texts += [row["prompt"] for row in csv.DictReader(rows)]
    found = Counter(phrases(text)[0] for text in texts)
    assert found["refused"] == 0 and found["unclear"] <= 1, found


# --- repetition and leaks ---


def test_an_answer_that_repeats_the_question_fails(tmp_path: Path) -> None:
    question = "Write about the harbour of Ghent in the sixteenth century, its guilds, its ships and its cranes."
    assert judged("near_duplicate_of_prompt", record(question.upper(), question), tmp_path).status == "rejected"
    reworded = "Ghent's guilds ran the harbour; " + " ".join(f"ship {n} came with wool number {n}." for n in range(9))
    assert judged("near_duplicate_of_prompt", record(reworded, question), tmp_path).status == "accepted"
    assert judged("near_duplicate_of_prompt", record("Ghent", "Ghent or Bruges?"), tmp_path).status == "accepted"
    chinese = "请写一篇关于十六世纪根特港口的文章，介绍它的行会、船只和起重机，以及商人的生活。"
    assert judged("near_duplicate_of_prompt", record(f"{chinese}好。", chinese), tmp_path).status == "rejected"
    assert judged("near_duplicate_of_prompt", Record(messages=[user("q")]), tmp_path).fault.endswith("undecided")


@pytest.mark.parametrize(
    ("trace", "leak"),
    [
        ("The schema requires a field `reason` first.", "schema"),
        ("I need to output valid JSON matching it.", "schema"),
        ("According to the rubric this gets full marks for clarity.", "rubric"),
        ("The prompt says that I should be an analyst.", "prompt"),
        ("So I write a synthetic example about loans.", "prompt"),
        ("I'm generating training data here.", "prompt"),
        ("For full marks I show the steps.", "rubric"),
        ("I follow the JSON schema given.", "schema"),
        ("A generator makes synthetic data of this kind.", None),
        ("The reference answer is 42, so I work towards it.", "answer"),
        ("The table card is a distractor.", "distractor"),
        ("So it must be Lake Constance, I think.", "hidden"),
        ("Add 3 and 4, then divide by 2.", None),
        ("The Rhine Fallsview hotel is near.", None),
        ("The database schema has two tables; the user wants one row.", None),
        (None, None),
    ],
)
def test_traces_that_know_too_much(tmp_path: Path, trace: str | None, leak: str | None) -> None:
    one = record("42", trace=trace, walk=["Lake Constance", {"end": "Rhine Falls"}])
    found = judged("meta_leak", one, tmp_path, hidden=["metadata.walk"])
    assert (found.status == "accepted") is (leak is None)
    assert leak is None or found.detail.startswith(f"{leak}: ")


def test_what_the_user_spoke_of_is_no_leak(tmp_path: Path) -> None:
    question = "Here is a JSON schema and a rubric. Is Lake Constance in it?"
    one = record(
        "No.",
        question,
        "The schema requires an id. The rubric wants it too. Lake Constance is absent.",
        x="Lake Constance",
    )
    assert judged("meta_leak", one, tmp_path, hidden=["metadata.x"]).status == "accepted"


# --- tool calls, as a judge ---


def test_tool_calls_as_a_judge(tmp_path: Path) -> None:
    add = Tool(
        function=FunctionSpec(name="add", parameters={"type": "object", "properties": {"a": {"type": "integer"}}})
    )

    def calling(arguments: str) -> Record:
        call = ToolCall(id="c", function=Function(name="add", arguments=arguments))
        return Record(messages=[user("?"), assistant(tool_calls=[call]), tool("3", "c"), assistant("3")], tools=[add])

    assert judged("tool_calls", calling('{"a": 1}'), tmp_path).status == "accepted"
    found = judged("tool_calls", calling('{"a": "1", "b": 2}'), tmp_path)
    assert found.fault == "tool_calls/failed" and "wrong_type: add.a" in found.detail
    assert "unknown_argument: add" in found.detail
    assert judged("tool_calls", calling('{"a": 1, "b": 2}'), tmp_path, unknown_arguments=True).status == "accepted"
    assert judged("tool_calls", record("hi"), tmp_path).status == "accepted"
    assert judged("tool_calls", record("hi"), tmp_path, require_calls=True).detail == "no_calls: no tool is called"


# --- whole runs ---


def whole_run(judge: RunJudge[Any], records: list[Record]) -> list[Verdict]:
    for one in records:
        judge.observe(one)
    return [judge.verdict(one) for one in records]


def test_outliers_per_group() -> None:
    """A length that is ordinary in one group is an outlier in another."""
    rng = random.Random(7)
    records = [
        Record(messages=[user("q" * 20), assistant("x" * rng.randint(low, high))], category=group)
        for group, low, high in (("short", 90, 110), ("long", 900, 1100))
        for _ in range(200)
    ]
    odd = Record(messages=[user("q" * 20), assistant("x" * 1000)], category="short")
    few = [Record(messages=[user("q"), assistant("x" * 10**n)], category="few") for n in range(5)]
    verdicts = whole_run(Outliers(OutliersParams(of=["answer"], low=0, high=99)), [*records, odd, *few])
    assert verdicts[400].passed is False and verdicts[400].reason.startswith("answer 1000 is outside ")
    assert all(verdict.passed for verdict in verdicts[401:]), "a small group is left alone"
    assert sum(verdict.passed is False for verdict in verdicts[:400]) <= 6
    same = [Record(messages=[user("q"), assistant("x" * 50)]) for _ in range(100)]
    assert all(verdict.passed for verdict in whole_run(Outliers(OutliersParams()), same)), (
        "equal lengths are no outliers"
    )


def test_outliers_of_a_number_in_the_metadata() -> None:
    records = [record("a", tokens=100 + n % 10) for n in range(99)] + [record("b", tokens=-5), record("c", other=1)]
    verdicts = whole_run(Outliers(OutliersParams(of=["metadata.tokens"], low=2, high=100)), records)
    assert [n for n, verdict in enumerate(verdicts) if not verdict.passed] == [99]


def test_difficulty_by_rate_and_by_group() -> None:
    rates = [0.0, 0.25, 1.0, None, "half"]
    records = [record("a", solve_rate=rate) for rate in rates]
    found = whole_run(Difficulty(DifficultyParams(solve_rate="metadata.solve_rate")), records)
    assert [verdict.passed for verdict in found] == [False, True, False, None, None]
    assert found[0].reason == "solved in 0% of the attempts, too hard"
    ranged = DifficultyParams(solve_rate="metadata.solve_rate", at_least=0.0, at_most=0.5)
    assert [v.passed for v in whole_run(Difficulty(ranged), records[:3])] == [True, True, False]
    attempts = [record("a", scenario=s, success=ok) for s, ok in [("x", True), ("x", False), ("y", True), ("y", True)]]
    grouped = DifficultyParams(success="metadata.success", by=["metadata.scenario"])
    assert [v.passed for v in whole_run(Difficulty(grouped), attempts)] == [True, True, False, False]


def test_duplicates_keep_the_first() -> None:
    records = [record("a", title=title) for title in ("Two Sum", "two sum.", "Three Sum", "")]
    found = whole_run(Duplicates(DuplicatesParams(of="metadata.title")), records)
    assert [verdict.passed for verdict in found] == [True, False, True, True]


@given(st.lists(st.floats(-1e9, 1e9, allow_nan=False), min_size=1, max_size=300), st.floats(0, 1))
def test_quantiles_are_near_and_independent_of_order(values: list[float], share: float) -> None:
    sketch, backwards = QuantileSketch(), QuantileSketch()
    for value in values:
        sketch.add(value)
    for value in reversed(values):
        backwards.add(value)
    exact = sorted(values)[int(share * (len(values) - 1))]
    assert sketch.quantile(share) == backwards.quantile(share) == pytest.approx(exact, rel=0.0051, abs=2e-9)


def test_quantiles_refuse_what_is_no_number() -> None:
    with pytest.raises(ValueError, match="no finite number"):
        QuantileSketch().add(float("inf"))
    with pytest.raises(ValueError, match="no values"):
        QuantileSketch().quantile(0.5)
