"""How fast calls are checked by the rules: calls per second on one core, for sound calls and for faulty ones.

    python benchmarks/tool_calls.py [--seconds 2] [--bfcl FOLDER]

Calls of the bundled sets' goals, each against all tools of its set; with --bfcl the possible answers of BFCL against
the functions of their questions. A `ToolSet` is made once per conversation of eight calls, as in a simulation; compiled
schemas are shared by a whole run. Printed are medians of five rounds, and as a floor the mere parsing of the arguments;
and how fast it is where every call comes with a schema that hasn't been seen before.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path

import orjson

sys.path.insert(0, str(Path(__file__).parents[1]))

from generators.general_tools.toolboxes import toolboxes
from gristmill.tools.checks import ToolSet
from schemas import Function, Tool, ToolCall
from schemas.tool_formats import import_tools

Case = tuple[list[Tool], list[ToolCall]]

CALLS = 8
ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--bfcl", type=Path)
    arguments = parser.parse_args()
    for name, cases in [("bundled sets", bundled()), *([("BFCL", bfcl(arguments.bfcl))] if arguments.bfcl else [])]:
        floor = rate(
            lambda tools, calls: [orjson.loads(call.function.arguments) for call in calls], cases, arguments.seconds
        )
        for kind, made in (("sound", cases), ("faulty", [(tools, [*map(broken, calls)]) for tools, calls in cases])):
            checked = rate(check, made, arguments.seconds)
            print(f"{name}, {kind} calls: {checked:,.0f} a second and core ({floor / checked:.1f} x the parsing alone)")
        print(f"{name}, a new schema for each call: {first_checks(cases):,.0f} a second and core")


def bundled() -> list[Case]:
    """For each set eight calls at a time of its goals."""
    cases = []
    for box in toolboxes([]).values():
        calls = [
            as_call(name, values)
            for goal in box.about.goals
            for row in range(len(goal.rows))
            for name, values in goal.scenario(row, 0, "", box.state).calls
        ]
        endless = cycle(calls)
        cases += [(box.tools, list(islice(endless, CALLS))) for _ in range(len(calls))]
    return cases


def bfcl(folder: Path) -> list[Case]:
    cases: list[Case] = []
    for kind in ("simple_python", "multiple"):
        questions = (folder / f"BFCL_v4_{kind}.json").read_text("utf-8").splitlines()
        answers = (folder / "possible_answer" / f"BFCL_v4_{kind}.json").read_text("utf-8").splitlines()
        for question, answer in zip(map(json.loads, questions), map(json.loads, answers), strict=True):
            imported = import_tools(question["function"])
            renamed = {old: new for new, old in imported.origin.items()}
            ((name, options),) = answer["ground_truth"][0].items()
            values = {key: choices[0] for key, choices in options.items() if choices[0] != ""}
            cases.append((imported.tools, [as_call(renamed.get(name, name), values)] * CALLS))
    return cases


def as_call(name: str, values: dict[str, object]) -> ToolCall:
    return ToolCall(id="call_1", function=Function(name=name, arguments=orjson.dumps(values).decode()))


def broken(call: ToolCall) -> ToolCall:
    """The call with an argument too many."""
    values = {**orjson.loads(call.function.arguments), "verbose_mode": True}
    return as_call(call.function.name, values)


def check(tools: list[Tool], calls: list[ToolCall]) -> object:
    known = ToolSet(tools)
    return [known.check(call) for call in calls]


def rate(work: Callable[[list[Tool], list[ToolCall]], object], cases: list[Case], seconds: float) -> float:
    """Calls per second of CPU time, the median of the rounds."""
    for case in cases:
        work(*case)  # schemas are compiled once per run
    return statistics.median(rounds(work, cases, seconds / ROUNDS))


def first_checks(cases: list[Case]) -> float:
    """Calls per second where no schema has been seen before."""
    unseen = []
    for number, (tools, calls) in enumerate(islice(cycle(cases), 2000)):
        offered = next(tool for tool in tools if tool.function.name == calls[0].function.name)
        parameters = {**offered.function.parameters, "title": f"number {number}"}
        function = offered.function.model_copy(update={"parameters": parameters})
        unseen.append(([offered.model_copy(update={"function": function})], calls[:1]))
    started = time.process_time()
    for tools, calls in unseen:
        check(tools, calls)
    return len(unseen) / (time.process_time() - started)


def rounds(work: Callable[[list[Tool], list[ToolCall]], object], cases: list[Case], seconds: float) -> Iterator[float]:
    for _ in range(ROUNDS):
        started, done = time.process_time(), 0
        for tools, calls in cycle(cases):
            work(tools, calls)
            done += len(calls)
            if time.process_time() - started > seconds:
                break
        yield done / (time.process_time() - started)


if __name__ == "__main__":
    main()
