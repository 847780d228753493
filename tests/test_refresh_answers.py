"""What a reply claims, and whether it is the reference: right ones in other notations, wrong ones in right clothes."""

from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from judges.claims import LETTERS, read_claim, read_letter
from judges.sameness import answers, same

DATA = Path(__file__).parent / "data"
CASES: list[dict[str, Any]] = yaml.safe_load((DATA / "refresh_answers.yaml").read_text("utf-8"))
REPLIES: dict[str, list[tuple[str, str]]] = yaml.safe_load((DATA / "refresh_replies.yaml").read_text("utf-8"))

FRAMES = [
    "We compute it step by step.\n\nAnswer: {}",
    "First 7 + 5 = 12, and so on.\n\n**Final Answer:** {}",
    "The answer is {}.",
    "After checking both cases, the final answer is **{}**.",
    "Let me think about 19 and 23.\n\n#### {}",
    "Reasoning: it follows from the premise.\n\nAnswer:\n{}",
    "Step 1. Read.\nStep 2. Compute.\n\n**Answer:** {}.",
    "It comes from 100 by halving.\n\nFinal answer: {}",
    "So the correct answer is {}, because nothing else fits.",
    "## Answer\n\nThe result follows.\n\nTherefore, the answer is: {}",
]
"""Ways to state an answer; a value with LaTeX commands is also boxed."""


def framed(values: list[str], start: int) -> Iterator[str]:
    for number, value in enumerate(values, start=start):
        yield (
            f"Hence \\boxed{{{value.strip('$')}}}."
            if "\\" in value and number % 2
            else FRAMES[number % len(FRAMES)].format(value)
        )


def accepted(reference: str, reply: str) -> bool:
    claim = read_claim(reply)
    return claim is not None and same(reference, claim.text) is True


def taken_back(right: str, wrong: str) -> list[str]:
    """Replies that name the right answer and don't claim it."""
    return [
        f"One might think that it is {right}, but a sign was lost.\n\nAnswer: {wrong}",
        f"Answer: {right}\n\nWait, that is wrong.\n\nAnswer: {wrong}",
        f"The answer is {right} or {wrong}.",
        f"Answer: {right}\n\nCorrection: a factor was lost, so it is {wrong}.",
        f"The answer is not {right}.",
        f"Answer: {right}. Actually, it should be {wrong}.",
        f"So \\boxed{{{right}}} at first, but there is a sign to change.\n\nFinal Answer: {wrong}",
        f"\\boxed{{{right}}} was my first idea; the correct value is \\boxed{{{wrong}}}",
    ]


RIGHT = [*REPLIES["right"]] + [
    (case["reference"], reply)
    for number, case in enumerate(CASES)
    for shift in range(2)
    for reply in framed([*case["right"], case["reference"]], number + 3 * shift)
]
WRONG = [*REPLIES["wrong"]] + [
    (case["reference"], reply)
    for number, case in enumerate(CASES)
    for reply in (*framed(case["wrong"], number), *taken_back(case["reference"], case["wrong"][0]))
]


def test_right_answers_in_other_notations_are_accepted() -> None:
    lost = [one for one in RIGHT if not accepted(*one)]
    print(f"\n{len(RIGHT) - len(lost)} of {len(RIGHT)} right answers accepted")
    assert len(RIGHT) >= 300 and len(lost) <= 0.03 * len(RIGHT), lost


def test_wrong_answers_in_right_looking_forms_are_refused() -> None:
    passed = [one for one in WRONG if accepted(*one)]
    print(f"\n{len(WRONG) - len(passed)} of {len(WRONG)} wrong answers refused")
    assert len(WRONG) >= 300 and len(passed) <= 0.02 * len(WRONG), passed


CHOICES = ["oxygen", "nitrogen", "argon", "helium"]


@pytest.mark.parametrize("reply", [
    "B", "(B)", "b)", "B.", "B) nitrogen", "Answer: B", "**Answer: B**", "The answer is B.",
    "The answer is (B) nitrogen.", "nitrogen", "The answer is nitrogen.", "\\boxed{B}",
    "\\boxed{\\text{B}}", "\\boxed{\\text{(B) nitrogen}}",
    "Option A is wrong, plants make it.\n\nThe correct option is B.", "Final Answer: **B. nitrogen**", "Answer: $B$",
    "A and C are rare. So B is correct.", "The correct answer is option B", "Answer: B - nitrogen", "Answer:\n\nB",
    "I considered C at first. The answer is B because it makes up 78 %.", "The best choice is B.", "#### B",
])  # fmt: skip
def test_letters(reply: str) -> None:
    assert read_letter(reply, CHOICES) == "B"


@pytest.mark.parametrize("reply", [
    "Answer: B or C", "Answer: B and C", "The answer is B) oxygen.", "The answer is not B.", "It may be any of them.",
    "Answer: B. Wait, that's wrong.", "Answer: F", "B is not correct.", "Both (A) and (B) are possible.", "",
    "Answer: none", "Air is a mixture.", "Answer: A/B", "Answer: nitrogen or oxygen",
])  # fmt: skip
def test_no_letter(reply: str) -> None:
    assert read_letter(reply, CHOICES) is None


LETTERED: dict[str, list[str]] = yaml.safe_load((DATA / "refresh_letters.yaml").read_text("utf-8"))
TISSUES = ["the xylem", "the phloem", "the cortex", "the epidermis"]


def test_letters_in_every_form() -> None:
    found = {True: 0, False: 0}
    for one, other in permutations(range(4), 2):
        words = {"L": LETTERS[one], "T": TISSUES[one], "X": LETTERS[other], "XT": TISSUES[other]}
        for form in LETTERED["right"]:
            found[True] += read_letter(form.format(**words), TISSUES) == LETTERS[one]
        for form in LETTERED["wrong"]:
            found[False] += read_letter(form.format(**words), TISSUES) == LETTERS[one]
    assert len(LETTERED["right"]) * 12 >= 300 and len(LETTERED["wrong"]) * 12 >= 300
    assert found == {True: len(LETTERED["right"]) * 12, False: 0}


def test_a_first_line_is_the_answer_where_nothing_speaks_against_it() -> None:
    assert read_letter("B\n\nSugar moves in it.", TISSUES) == read_letter("**B. the phloem**\n\nYes.", TISSUES) == "B"
    for reply in (
        "A. the xylem\nB. the phloem",
        "A\n\nNo wait, B.",
        "A) the phloem\n\nYes.",
        "A\n\nOption B is correct.",
    ):
        assert read_letter(reply, TISSUES) in (None, "B"), reply


def test_a_claim_is_explicit_only_where_it_is_marked() -> None:
    marked, said = read_claim("So it is 4.\n\nAnswer: 4"), read_claim("We get 2 + 2 = 4.")
    assert marked and marked.explicit and said and not said.explicit and said.text == "4"
    assert read_claim("Bees live in hives.\n\nThey make honey in summer, and in winter they rest together.") is None


def test_only_a_reader_can_compare_words() -> None:
    assert same("the mitochondrion", "the powerhouse of the cell") is None
    assert same("42", "forty and two more") is False


TRAMS = "Two trams leave the ends of a 21 km line at 32 km/h and 24 km/h. After how many minutes do they meet?"
DENSITY = "A stone of 270 g displaces 100 mL of water. What is its density in g/cm³?"
FERRIES = "Ferries return every 18, 24 and 40 minutes. How many hours pass until all are back?"


@pytest.mark.parametrize(
    ("question", "reference", "right", "wrong"),
    [
        (TRAMS, "22.5", ["22.5", "22.5 minutes", "22.5 min", "0.375 h", "They meet after 22.5 minutes",
                         "22 1/2 minutes", "22.5 minutes after departure", r"22.5\ \text{minutes}"],
         ["22.5 hours", "22.5 s", "22.5 km", "They meet after 22.5 hours", "22.5 minutes is impossible", "0.375",
          "They don't meet after 22.5 minutes", "more than 22.5 minutes"]),
        (DENSITY, "2.7", ["2.7", "2.7 g/cm³", "2.7 g/cm^3", r"2.7\ \text{g/cm}^3", r"2.7 \mathrm{g/cm^3}"],
         ["2.7 kg/m^3", r"2.7\ \text{kg/m}^3", "2.7 g/mm³", "27 g/cm³"]),
        (FERRIES, "6", ["6", "6 h", "6 hours", "360 minutes"], ["6 minutes", "360", "6 days"]),
        ("What kinetic energy, in joules, has the cyclist?", "1000", ["1000 J", "1,000 joules"], ["1000 kJ", "1000 W"]),
        ("How many litres of pure water must be added?", "8", ["8 litres of water", "8 L", "8000 ml"],
         ["8 ml", "8 kg"]),
        ("How many positive divisors does 5040 have?", "60", ["60 divisors", "60"], ["6"]),
        ("How old is the son?", "12", ["12 years", "12"], ["21 years"]),
        ("What is its speed in kilometres per hour?", "72", ["72 km/h"], ["72 m/s"]),
    ],
)  # fmt: skip
def test_a_number_is_in_the_unit_that_the_question_asks_for(
    question: str, reference: str, right: list[str], wrong: list[str]
) -> None:
    assert {claim: answers(reference, claim, question) for claim in right} == dict.fromkeys(right, True)
    assert not [claim for claim in wrong if answers(reference, claim, question)]


def test_whole_numbers_have_no_tolerance() -> None:
    assert same("150,000,000", "150000001") is False and same("12345678901234567890", "12345678901234567891") is False
    assert same("150000000", "1.5 × 10^8") is True


NOTATIONS: list[Callable[[int, int], str]] = [
    lambda p, q: f"{p}/{q}",
    lambda p, q: f"\\frac{{{p}}}{{{q}}}",
    lambda p, q: f"$\\dfrac{{{p}}}{{{q}}}$",
    lambda p, q: f"{3 * p}/{3 * q}",
    lambda p, q: f"x = {p}/{q}",
]


@given(st.integers(-999, 999), st.sampled_from([2, 3, 4, 5, 7, 8, 11, 16]), st.integers(-999, 999), st.data())
def test_fractions_are_the_same_exactly_where_their_values_are(p: int, q: int, other: int, data: st.DataObject) -> None:
    write, frame = data.draw(st.sampled_from(NOTATIONS)), data.draw(st.sampled_from(FRAMES))
    assert accepted(f"{p}/{q}", frame.format(write(p, q)))
    assert accepted(f"{p}/{q}", frame.format(write(other, q))) == (p == other)


@given(st.integers(-(10**15), 10**15), st.integers(-(10**15), 10**15), st.sampled_from(FRAMES))
def test_whole_numbers_are_the_same_exactly_where_their_values_are(number: int, other: int, frame: str) -> None:
    assert accepted(str(number), frame.format(f"{number:,}")) and accepted(f"{number:,}", frame.format(f"${number}$"))
    assert accepted(str(number), frame.format(f"{other:,}")) == (number == other)
    assert not accepted(str(number), frame.format(number + 1)) and not accepted(str(number), frame.format(f"{number}5"))
