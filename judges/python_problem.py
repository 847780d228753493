'''A problem: the imports that it allows, a signature with a descriptive name, and a docstring that states the task.

    import math

    def smallest_cube_root(values: list[float]) -> float:
        """Return the smallest of the cube roots of the values, or 0.0 for an empty list.

        >>> smallest_cube_root([27.0, 8.0])
        2.0
        """

It is a program that lacks only the function's body, so a solution is its text with a body below.
'''

import ast
import doctest
import re
from dataclasses import dataclass

from gristmill import Reject

Function = ast.FunctionDef | ast.AsyncFunctionDef

_DESCRIPTIVE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)+")


@dataclass(frozen=True)
class Problem:
    """`signature` is the dump of arguments and result, `imports` what the problem's import statements bring in."""

    text: str
    name: str
    signature: str
    docstring: str
    imports: frozenset[str]

    def with_body(self, body: str) -> str:
        """The whole program; `body` is indented by four spaces."""
        return f"{self.text}\n{body}\n"


def read_problem(text: str) -> Problem:
    """The problem of a program text; Reject `problem` with what it lacks.

    unparseable, several_functions (or none, or other statements), has_body, vague_name, untyped, no_examples.
    """
    text = text.strip("\n").rstrip()
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise Reject("problem", "unparseable", str(error), problem=text) from None
    *before, function = tree.body or [ast.Pass()]
    if not isinstance(function, Function) or not all(isinstance(part, ast.Import | ast.ImportFrom) for part in before):
        detail = "a problem is imports and then one function"
        raise Reject("problem", "several_functions", detail, problem=text)
    docstring = ast.get_docstring(function) or ""
    if len(function.body) > 1 or not docstring:
        raise Reject("problem", "has_body", "a docstring is all that the function may hold", problem=text)
    if not _DESCRIPTIVE.fullmatch(function.name):
        raise Reject("problem", "vague_name", f"{function.name} isn't made of several words", problem=text)
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    if function.returns is None or not all(argument.annotation for argument in arguments):
        raise Reject("problem", "untyped", "each argument and the result need a type", problem=text)
    if not example_tests(docstring):
        raise Reject("problem", "no_examples", "the docstring has no >>> example with a result", problem=text)
    return Problem(text, function.name, signature_of(function), docstring, imports_of(tree))


def signature_of(function: Function) -> str:
    """Equal for functions with the same arguments, types, defaults and result."""
    returns = ast.dump(function.returns) if function.returns else ""
    return f"{type(function).__name__}({ast.dump(function.args)}) -> {returns}"


def imports_of(tree: ast.AST) -> frozenset[str]:
    """What import statements anywhere in the tree, and calls of `__import__`, bring in."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                found.update(alias.name for alias in node.names)
            case ast.ImportFrom():
                found.update(f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)
            case ast.Name(id="__import__"):
                found.add("__import__")
    return frozenset(found)


def example_tests(docstring: str) -> list[str]:
    """A test for each `>>>` example with a result: what stands before it is run first, as doctest would.

    A result that is a literal is compared as a value, so 2 may come as 2.0 and a set in any order.
    """
    tests: list[str] = []
    before: list[str] = []
    try:
        examples = doctest.DocTestParser().get_examples(docstring)
    except ValueError:
        return []
    for example in examples:
        source, want = example.source.strip(), example.want.strip()
        if example.exc_msg is not None:
            exception = example.exc_msg.partition(":")[0].strip()
            tests.append("\n".join([*before, _raises(source, exception)]))
        elif want and _is_expression(source):
            check = f"assert ({source}) == {want}" if _is_literal(want) else f"assert repr({source}) == {want!r}"
            tests.append("\n".join([*before, check]))
        else:
            before.append(source)
    return tests


def _raises(source: str, exception: str) -> str:
    indented = source.replace("\n", "\n    ")
    return f"try:\n    {indented}\nexcept {exception}:\n    pass\nelse:\n    raise AssertionError({exception!r})"


def _is_expression(source: str) -> bool:
    try:
        ast.parse(source, mode="eval")
    except SyntaxError:
        return False
    return True


def _is_literal(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return False
    return True
