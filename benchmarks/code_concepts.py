"""What cleaning costs, and what exercises are like.

    python -P benchmarks/code_concepts.py [--seconds 5] [--mbpp mbpp_1_510.jsonl]

Cleaning is `clean` on one core: imports, body, syntax, signature, lines. Its solutions are those of the examples,
in the forms in which teachers send them (with prose and fences, with the problem rewritten, with an import, cut short).
With MBPP its programs are cleaned too, as solutions of problems made from their own signatures. Medians of five rounds.
"""

import argparse
import ast
import statistics
import time
from pathlib import Path

import orjson

from generators.code_concepts import CodeConcepts
from gristmill import Reject
from judges.python_cleaning import clean, normalised_hash
from judges.python_problem import Function, Problem, imports_of, read_problem, signature_of

ROUNDS = 5

Pairs = list[tuple[Problem, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--mbpp", type=Path)
    arguments = parser.parse_args()
    print(f"{'':12}{'solutions':>10}{'lines':>7}{'kept':>7}{'cleaned/s':>11}{'with AST hash/s':>17}")
    report("examples", teachers_forms(), arguments.seconds)
    if arguments.mbpp:
        report("MBPP", from_mbpp(arguments.mbpp), arguments.seconds)


def report(name: str, pairs: Pairs, seconds: float) -> None:
    lines = statistics.median(reply.count("\n") + 1 for _, reply in pairs)
    kept = sum(cleaned(problem, reply) != "" for problem, reply in pairs) / len(pairs)
    plain, hashed = (rate(pairs, seconds / 2, hashes) for hashes in (False, True))
    print(f"{name:12}{len(pairs):>10}{lines:>7.0f}{kept:>7.0%}{plain:>11,.0f}{hashed:>17,.0f}")


def rate(pairs: Pairs, seconds: float, hashes: bool) -> float:
    """Solutions per second of processor time, the median of the rounds."""
    rates = []
    for _ in range(ROUNDS):
        started, done = time.process_time(), 0
        while time.process_time() - started < seconds / ROUNDS:
            for problem, reply in pairs:
                body = cleaned(problem, reply)
                if hashes and body:
                    normalised_hash(problem.with_body(body))
            done += len(pairs)
        rates.append(done / (time.process_time() - started))
    return statistics.median(rates)


def cleaned(problem: Problem, reply: str) -> str:
    try:
        return clean(reply, problem, max_lines=60)
    except Reject:
        return ""


def teachers_forms() -> Pairs:
    pairs: Pairs = []
    for line in (CodeConcepts.folder() / "examples.jsonl").read_bytes().splitlines():
        record = orjson.loads(line)
        problem = read_problem(record["metadata"]["problem"])
        answer = record["messages"][1]["content"]
        code = answer.removeprefix("```python\n").removesuffix("\n```")
        rewritten = code.replace(problem.docstring.split("\n")[0], "Does what it should.")
        forms = (answer, f"Here is a solution.\n\n{answer}\n\nIt is linear.", code, rewritten,
                 answer.replace("def ", "import os\n\ndef ", 1), code[:-20] + "((")  # fmt: skip
        pairs += [(problem, form) for form in forms]
    return pairs


def from_mbpp(path: Path) -> Pairs:
    """MBPP's programs that are one function, after imports."""
    pairs: Pairs = []
    for line in path.read_bytes().splitlines():
        code = orjson.loads(line)["code"].replace("\r\n", "\n")
        try:
            tree = ast.parse(code)
        except SyntaxError:
            continue
        functions = [part for part in tree.body if isinstance(part, Function)]
        if len(functions) == 1 and functions[0] is tree.body[-1]:
            function, imports = functions[0], imports_of(tree)
            head = "\n".join(code.split("\n")[: function.body[0].lineno - 1])
            pairs.append(
                (Problem(f'{head}\n    """Do it."""', function.name, signature_of(function), "Do it.", imports), code)
            )
    return pairs


if __name__ == "__main__":
    main()
