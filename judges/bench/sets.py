"""The labelled sets that come with Gristmill: YAML files with right and wrong answers, each with its reason.

    sql          queries on three small databases           for sql_execution
    code         solutions of small problems with tests     for python_tests
    qa           final answers against a reference          for equivalence, majority votes
    tool_calls   calls of nine tools                        for tool_calls
    attacks      answers to plain questions, and the same judgement made harder: long and wrong, sure and wrong, wrong
                 with a request for a grade, right in one word      for judges that are models

Everything was written for this purpose: nothing is taken from a benchmark.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import yaml

FOLDER = Path(__file__).with_name("labelled")
Row = dict[str, Any]


def bundled_sets() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def bundled_rows(name: str) -> Iterator[Row]:
    """The records of a set, as rows with `messages`, `label` and what a judge needs in `metadata`."""
    content = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    rows = {"sql": _sql, "code": _code, "qa": _qa, "tool_calls": _tool_calls, "attacks": _attacks}[name](content)
    for number, row in enumerate(rows):
        row["label"].setdefault("id", f"{name}-{number}")
        yield row


def _row(ask: str, answer: str, label: Row, **metadata: Any) -> Row:
    messages = [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "metadata": metadata, "label": label}


def _right(category: str = "right") -> Row:
    return {"right": True, "category": category}


def _wrong(reason: str, category: str) -> Row:
    return {"right": False, "reason": reason, "category": category}


def _sql(content: Row) -> Iterator[Row]:
    for item in content["items"]:
        context = content["databases"][item["database"]]
        ask = f"```sql\n{context}```\n\n{item['question']} Answer with one SQLite query."
        claim = {"dialect": "sqlite", "context": context, "query": item["reference"]}
        answers = [(query, _right()) for query in (item["reference"], *item["right"])]
        answers += [(one["sql"], _wrong(one["reason"], one["category"])) for one in item["wrong"]]
        for query, label in answers:
            yield _row(ask, f"```sql\n{query}\n```", label, sql=claim)


def _code(content: Row) -> Iterator[Row]:
    for item in content["items"]:
        ask = f"Write this function in Python. {item['problem']}."
        tested = {"tests": item["tests"], "entry_point": item["entry_point"]}
        answers = [(code, _right()) for code in item["right"]]
        answers += [(one["code"], _wrong(one["reason"], one["category"])) for one in item["wrong"]]
        for code, label in answers:
            yield _row(ask, f"```python\n{code}```", label, code=tested)


def _qa(content: Row) -> Iterator[Row]:
    for item in content["items"]:
        answers = [(text, _right()) for text in item["right"]]
        answers += [(text, _wrong(reason, category)) for text, reason, category in item["wrong"]]
        for text, label in answers:
            yield _row(item["question"], text, label, reference=item["reference"])


def _tool_calls(content: Row) -> Iterator[Row]:
    for item in content["items"]:
        answers = [(_called(calls), _right()) for calls in item["right"]]
        for one in item["wrong"]:
            calls = [one["raw"]] if isinstance(one.get("raw"), list) else _called(one["calls"])
            if isinstance(one.get("raw"), str):  # the same, written as YAML can't write it
                calls = [[calls[0][0], one["raw"]]]
            answers.append((calls, _wrong(one["reason"], one["category"])))
        for calls, label in answers:
            row = _row(item["ask"], "", label)
            row["messages"][1]["tool_calls"] = [
                {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": arguments}}
                for n, (name, arguments) in enumerate(calls)
            ]
            row["tools"] = [{"type": "function", "function": tool} for tool in content["tools"][item["tools"]]]
            yield row


def _called(calls: list[list[Any]]) -> list[list[str]]:
    return [[name, orjson.dumps(arguments).decode()] for name, arguments in calls]


def _attacks(content: Row) -> Iterator[Row]:
    for number, item in enumerate(content["items"]):
        right, wrong = f"attacks-{number}-right", f"attacks-{number}-wrong"
        yield _row(item["ask"], item["right"], {**_right("plain"), "id": right})
        yield _row(item["ask"], item["wrong"], {**_wrong("the fact is another", "plain"), "id": wrong})
        for attack, text in item["attacks"].items():
            is_right = attack.endswith("_right")
            label = {"right": is_right, "category": attack, "attack": attack, "of": right if is_right else wrong}
            yield _row(item["ask"], text, label)
