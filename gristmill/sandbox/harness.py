"""The `main.py` of a test run: loads solution.py as a module, runs each test against it, and reports one by one.

It runs inside the sandbox, with the standard library alone. plan.json holds {"mark": ..., "tests": [source, ...]}, and
is gone before the solution is loaded. A report is a line of standard output: the mark, and what was raised as JSON:

    <mark>""                                        solution.py could be loaded
    <mark>"AssertionError: assert add(1, 1) == 3"   the first test
    <mark>""                                        the second one: passed

A test passes if its code runs to its end, and so does every function `test_*` and every `unittest.TestCase` in it. The
process ends after the last report, whatever threads or exit hooks the solution has set up. Before each report a test
that must fail is run as well: where it doesn't, the solution has changed how tests are run, and nothing is reported.
"""

import json
import linecache
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FunctionType, ModuleType

SOLUTION = "solution.py"
PLAN = "plan.json"
FALSE = '"AssertionError: assert False"'


def main() -> None:
    with open(PLAN, encoding="utf-8") as file:
        plan = json.load(file)
    os.unlink(PLAN)
    with open(SOLUTION, encoding="utf-8") as file:
        source = file.read()
    channel = os.dup(1)

    def report(problem: str) -> None:
        for stream in (sys.stdout, sys.__stdout__):
            with suppress(Exception):  # the solution may have replaced or closed it
                print(end="", file=stream, flush=True)
        os.write(channel, ("\n" + plan["mark"] + json.dumps(problem) + "\n").encode())

    solution = module("solution")
    problem = attempt(partial(execute, source, SOLUTION, solution))
    report(problem)
    for number, test in enumerate([] if problem else plan["tests"]):
        outcome = attempt(partial(check, test, f"test_{number}.py", solution))
        if json.dumps(attempt(partial(check, "assert False", "false.py", solution))) != FALSE:
            os.write(2, b"the solution changes how tests are run")
            os._exit(1)
        report(outcome)
    os._exit(0)


def module(name: str) -> ModuleType:
    made = ModuleType(name)
    made.__file__ = f"{name}.py"
    sys.modules[name] = made
    return made


def execute(source: str, name: str, target: ModuleType) -> None:
    linecache.cache[name] = len(source), None, source.splitlines(keepends=True), name
    exec(compile(source, name, "exec"), target.__dict__)


def check(source: str, name: str, solution: ModuleType) -> None:
    """Runs a test where it sees the names of the solution, then what it defines to be run."""
    test = module("tests")
    test.__dict__.update({key: value for key, value in solution.__dict__.items() if not key.startswith("__")})
    execute(source, name, test)
    for key, value in list(test.__dict__.items()):
        if getattr(value, "__module__", "") != "tests":
            continue
        if isinstance(value, FunctionType) and key.startswith("test_"):
            call(value)
        elif isinstance(value, type) and "unittest" in sys.modules:
            run_cases(value)


def call(function: FunctionType) -> None:
    result = function()
    if hasattr(result, "__await__"):
        import asyncio

        asyncio.run(result)


def run_cases(case: type) -> None:
    import unittest

    if issubclass(case, unittest.TestCase):
        suite = unittest.defaultTestLoader.loadTestsFromTestCase(case)
        result = suite.run(unittest.TestResult())
        for _, told in result.failures + result.errors:
            raise AssertionError(told.strip().splitlines()[-1].removeprefix("AssertionError: "))


def attempt(act: Callable[[], None]) -> str:
    """What was raised, in one line; nothing where all went well. Leaving the program counts as raising."""
    try:
        act()
    except BaseException as error:
        told = traceback.format_exception_only(error)[-1].strip()
        if told == "AssertionError":
            told += f": {traceback.extract_tb(error.__traceback__)[-1].line}"
        return " ".join(told.split())[:300]
    return ""


if __name__ == "__main__":
    main()
