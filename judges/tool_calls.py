"""tool_calls: every call is checked against its tool's schema, and every result against its call. No model is asked.

    wrong_type: book_table.guests: "2" is not of type "integer"; unknown_argument: book_table: ...

The rules are those of gristmill/tools/checks.py, which the generators apply while a conversation is made.

`expected: metadata.expected.calls`, as in an exam (`gristmill evaluate`), also wants the calls of the record's own next
turn: the same names and arguments in the last message, in whatever order. Undecided where there is no such list.

Source: JSON Schema 2020-12; the call errors that BFCL (https://gorilla.cs.berkeley.edu/leaderboard.html) looks for.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from gristmill import Config, Context, Judge, Record, Verdict
from gristmill.tools.checks import CallFault, arguments_of, check_conversation
from judges.fields import FieldPath, last_turn, lookup
from schemas import canonical_json


class Params(Config):
    """`require_calls` fails a record in which no tool is called; `unknown_arguments: true` lets them pass. `expected`
    is where the calls are that the last message must have: a list of {name, arguments}."""

    require_calls: bool = False
    unknown_arguments: bool = False
    expected: FieldPath | None = None


class ToolCalls(Judge[Params]):
    name = "tool_calls"

    async def judge(self, record: Record, ctx: Context) -> Verdict:
        calls = sum(len(message.tool_calls) for message in record.messages)
        faults = check_conversation(record.messages, record.tools, unknown_arguments=self.params.unknown_arguments)
        if not calls and not faults and self.params.require_calls:
            faults = [CallFault("no_calls", "no tool is called")]
        if self.params.expected and not faults:
            wanted = lookup(record, self.params.expected)
            if not isinstance(wanted, list):
                return Verdict(name=self.name, passed=None, reason=f"the record has no list {self.params.expected}")
            faults = list(_differing(record, wanted))
        reason = "; ".join(map(str, faults[:3])) + (f" and {len(faults) - 3} more" if len(faults) > 3 else "")
        return Verdict(
            name=self.name, passed=not faults, score=float(not faults), reason=reason or f"{calls} calls, all valid"
        )


def _differing(record: Record, wanted: list[Any]) -> Iterator[CallFault]:
    """Calls of the last assistant message that are not wanted, and wanted ones that it doesn't make."""
    turn = last_turn(record)
    made = Counter(
        canonical_json({"name": call.function.name, "arguments": arguments_of(call)})
        for call in (turn.tool_calls if turn else [])
    )
    expected = Counter(canonical_json(call) for call in wanted)
    for call in made - expected:
        yield CallFault("not_expected", call.decode())
    for call in expected - made:
        yield CallFault("not_made", call.decode())
