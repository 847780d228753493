"""What a task starts from: a prompt, and whatever the row says about its answer.

    {"question": "What is 3/4 of 52?", "answer": "39"}                          a reference
    {"question": "Which gas ...?", "choices": ["N2", "O2"], "answer": 1}         multiple choice (index, letter or text)
    {"prompt": "Write slug(text) ...", "tests": ["assert slug('A b') == 'a-b'"]}  unit tests
    {"messages": [...], "tools": [...]}                                          up to the last user turn
    {"prompt": "...", "constraints": [{"kind": "length", "of": "words", "at_most": 80}]}

Columns are known by the names that public datasets give them; `fields` maps others. What a row carries decides how its
answers are checked.
"""

import re
from typing import Any, Literal

import orjson

from gristmill import Seed
from gristmill.config import first_fault
from gristmill.seeds import BadSeed
from judges.claims import LETTERS, read_claim
from judges.constraints import CONSTRAINTS, Constraint
from schemas import Data, JsonObject, Message, Tool
from schemas.chat_shapes import messages_in, tools_in

REFERENCES = (
    "reference",
    "answer",
    "expected_answer",
    "final_answer",
    "ground_truth",
    "target",
    "answerKey",
    "answer_idx",
)
CHOICES = ("choices", "options")
TESTS = ("tests", "test_list", "test")
KEPT = ("category", "license", "language", "persona", "entry_point")
IDENTITIES = ("id", "uuid", "task_id")

LONG_REFERENCE = 60
"""Characters: a longer reference is a worked solution, of which the final answer counts."""

_OPTION = re.compile(r"^[ \t]*\(?([A-J])[).:][ \t]+(\S.*?)[ \t]*$", re.MULTILINE)

Cut = Literal["last", "first"]


class Example(Data):
    """A question with options, as a writer of new ones sees it."""

    question: str
    choices: list[str]


class Prompt(Seed):
    """`reference` lists answers of which one is enough; with `choices` it is one letter.

    A task of the bootstrap mode is the `number`-th new question after this one, with `examples` beside it.
    """

    messages: list[Message]
    tools: list[Tool] = []
    reference: list[str] = []
    choices: list[str] = []
    tests: list[str] = []
    entry_point: str = ""
    constraints: list[JsonObject] = []
    category: str = ""
    license: str = ""
    language: str = ""
    persona: str = ""
    id: str = ""
    number: int = 0
    examples: list[Example] = []

    @property
    def question(self) -> str:
        return self.messages[-1].content

    @property
    def rules(self) -> list[Constraint]:
        """The constraints, read."""
        return CONSTRAINTS.validate_python(self.constraints)


def read_prompt(where: str, row: dict[str, Any], fields: dict[str, str], cut: Cut) -> Prompt | BadSeed:
    """The prompt of a row; BadSeed where it has none, or says something about it that can't be read."""
    row = {**row, **{ours: row.get(theirs) for ours, theirs in fields.items()}}
    try:
        messages = _up_to_user(messages_in(row), cut)
        shown = options_in(messages[-1]["content"])
        reference, choices = _reference(_first(row, REFERENCES), _choices(_first(row, CHOICES)), shown)
        if choices and not shown:
            messages[-1]["content"] += "\n\n" + listed(choices)
        return Prompt.model_validate({
            "messages": messages,
            "tools": tools_in(row),
            "reference": reference,
            "choices": choices,
            "tests": _texts(_first(row, TESTS)),
            "constraints": _constraints(row.get("constraints") or []),
            "id": str(_first(row, IDENTITIES) or ""),
            **{name: row[name] for name in KEPT if row.get(name) is not None},
        })  # fmt: skip
    except ValueError as error:
        return BadSeed(where, first_fault(error))


def listed(choices: list[str]) -> str:
    """Options as a prompt shows them."""
    return "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False))


def options_in(text: str) -> list[str]:
    """The options that a question lists itself, where they are lettered in order from A; else []."""
    found = _OPTION.findall(text)
    in_order = [letter for letter, _ in found] == list(LETTERS[: len(found)])
    return [option for _, option in found] if in_order and len(found) > 1 else []


def _up_to_user(messages: list[dict[str, Any]], cut: Cut) -> list[dict[str, Any]]:
    """What comes after the last user turn is another's answer, and goes; `first` leaves no turn of another at all."""
    turns = [position for position, message in enumerate(messages) if message["role"] == "user"]
    if not turns or not messages[turns[0]]["content"].strip() or not messages[turns[-1]]["content"].strip():
        raise ValueError("no user turn with a text")
    return messages[: turns[0 if cut == "first" else -1] + 1]


def _first(row: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if row.get(name) not in (None, "", [])), None)


def _parsed(value: Any) -> Any:
    """A list or an object, also as its JSON text, as it stands in a CSV file."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value


def _constraints(value: Any) -> list[Any]:
    """Constraints as they are written, where all of them can be read."""
    rules = CONSTRAINTS.validate_python(_parsed(value))
    return [one.model_dump(mode="json", by_alias=True, exclude_unset=True) for one in rules]


def _texts(value: Any) -> list[str]:
    value = _parsed(value)
    return [] if value is None else [str(one) for one in value] if isinstance(value, list) else [str(value)]


def _choices(value: Any) -> list[str]:
    """Options as a list, or in ARC's form {"text": [...], "label": [...]}, or {"A": ..., "B": ...}."""
    value = _parsed(value)
    if isinstance(value, dict):
        value = value["text"] if isinstance(value.get("text"), list) else [value[key] for key in sorted(value)]
    choices = _texts(value)
    if len(choices) > len(LETTERS):
        raise ValueError(f"choices: {len(choices)} of them, at most {len(LETTERS)} can have a letter")
    return choices


def _reference(value: Any, choices: list[str], shown: list[str]) -> tuple[list[str], list[str]]:
    """(references, choices): a letter where the choices have it; of a worked solution the final answer.

    A lettered list in the question is a list of options unless the reference is none of them.
    """
    options = choices or shown
    if value is None:
        return [], options
    letter = _letter(value, options) if options else None
    if letter is not None:
        return [letter], options
    if choices:
        raise ValueError(f"answer: {str(value)[:60]!r} is none of the choices")
    return [_final(text) for text in _texts(value)], []


def _letter(value: Any, choices: list[str]) -> str | None:
    letters = LETTERS[: len(choices)]
    if isinstance(value, int) and not isinstance(value, bool):
        return letters[value] if 0 <= value < len(letters) else None
    text = str(value).strip()
    if text in choices:
        return letters[choices.index(text)]
    bare = text.strip("().: ").upper()
    if len(bare) == 1 and bare in letters:
        return bare
    if bare.isdigit() and 0 < int(bare) <= len(letters):
        return letters[int(bare) - 1]  # some of ARC's labels count from 1
    return None


def _final(text: str) -> str:
    if len(text) <= LONG_REFERENCE and "\\boxed" not in text and "####" not in text:
        return text.strip()
    claim = read_claim(text)
    return claim.text if claim and claim.explicit else text.strip()
