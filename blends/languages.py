"""The gate `languages` of a blend: rows whose answers are in a language that is not wanted.

What has fewer than LETTERS letters of prose, such as a number or a program, is in no language and passes. A judge of a
run (judges/language.py) looks at each paragraph; here a whole conversation has one language.
"""

import pyarrow as pa

from blends.store import LOST
from gristmill.errors import ConfigError
from gristmill.text.language_id import identify, known_languages, letters, prose
from schemas.blend_config import Languages

LETTERS = 20
CHARACTERS = 4000  # of the answers: enough to tell


def check_languages(gate: Languages) -> None:
    """ConfigError where a language is unknown, or the extra missing, before a row is read."""
    unknown = sorted(set(gate.allow) - known_languages())
    if unknown:
        raise ConfigError(f"gates.languages.allow: no such language: {', '.join(unknown)} (en, de, zh ...).")


def rows_of_other_languages(gate: Languages, rows: pa.Table) -> pa.Table:
    """The rows of a table with the columns `row` and `messages` that the gate takes."""
    found = []
    for number, messages in zip(rows["row"].to_pylist(), rows["messages"].to_pylist(), strict=True):
        answers = "\n\n".join(message["content"] or "" for message in messages if message["role"] == "assistant")
        text = prose(answers)[:CHARACTERS]
        if letters(text) < LETTERS:
            continue
        language, certainty = identify(text)
        if language not in gate.allow and certainty >= gate.certainty:
            found.append({"row": number, "reason": "language", "detail": f"{language} {certainty:.2f}"})
    return pa.Table.from_pylist(found, schema=LOST)
