"""What every tool is asked to do: a question about each fact, then a score for it, as JSON of a given schema."""

SCHEMA = {
    "type": "object",
    "properties": {
        "score": {"type": "integer", "minimum": 1, "maximum": 5},
        "reason": {"type": "string", "maxLength": 200},
    },
    "required": ["score", "reason"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": SCHEMA, "strict": True}}


def question_prompt(number: int) -> str:
    return f"Write one question about: fact {number}"


def score_prompt(number: int, question: str) -> str:
    return f"Score the question {question} for the text fact {number}"
