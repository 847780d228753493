"""tool_calls: every call is checked against its tool's schema, and every result against its call. No model is asked.

    wrong_type: book_table.guests: "2" is not of type "integer"; unknown_argument: book_table: ...

The rules are those of gristmill/tools/checks.py, which the generators apply while a conversation is made.

Source: JSON Schema 2020-12; the call errors that BFCL (https://gorilla.cs.berkeley.edu/leaderboard.html) looks for.
"""

from gristmill import Config, Context, Judge, Record, Verdict
from gristmill.tools.checks import CallFault, check_conversation


class Params(Config):
    """`require_calls` fails a record in which no tool is called; `unknown_arguments: true` lets them pass."""

    require_calls: bool = False
    unknown_arguments: bool = False


class ToolCalls(Judge[Params]):
    name = "tool_calls"

    async def judge(self, record: Record, ctx: Context) -> Verdict:
        calls = sum(len(message.tool_calls) for message in record.messages)
        faults = check_conversation(record.messages, record.tools, unknown_arguments=self.params.unknown_arguments)
        if not calls and not faults and self.params.require_calls:
            faults = [CallFault("no_calls", "no tool is called")]
        reason = "; ".join(map(str, faults[:3])) + (f" and {len(faults) - 3} more" if len(faults) > 3 else "")
        return Verdict(
            name=self.name, passed=not faults, score=float(not faults), reason=reason or f"{calls} calls, all valid"
        )
