'''Cleans a teacher's solution: of what it wrote, only the body stays, below the problem as it was set.

    problem     def double_evens(values: list[int]) -> list[int]: """..."""
    reply       "Sure! ```python\nimport os\ndef double_evens(values): ...```"        Reject("cleaning", "imports")

In the report's order: (a) the solution imports nothing that the problem didn't; (b) only the body is parsed out and
appended to the original problem, because teachers often rewrite it; (c) the joined code parses. Then, beyond the
report: the signature is the problem's, and the body has no more than the allowed number of lines.

Source: Nemotron 3 Super report (arXiv 2604.12374), code concepts.
'''

import ast
import re
import textwrap
from hashlib import sha256

from gristmill import Reject
from judges.python_problem import Function, Problem, imports_of, signature_of

_FENCED = re.compile(
    r"^[ \t]*```[ \t]*(?:python|py|python3)?[ \t]*\n(.*?)^[ \t]*```", re.DOTALL | re.MULTILINE | re.IGNORECASE
)
_IMPORTING = re.compile(r"^\s*(?:import|from)\s+([\w.]+)|\b(__import__)\b", re.MULTILINE)


def clean(reply: str, problem: Problem, max_lines: int) -> str:
    """The body, indented by four spaces. A reply without a fence is code as a whole.

    Reject `cleaning`: no_code, imports, no_function, unparseable, signature, too_long.
    """
    code = _code_of(reply, problem.name)
    tree = _parsed(code)
    _check_imports(code, tree, problem)
    if tree is None:
        raise Reject("cleaning", "unparseable", "the reply's code doesn't parse", reply=reply)
    function = next((part for part in tree.body if isinstance(part, Function) and part.name == problem.name), None)
    if function is None:
        raise Reject("cleaning", "no_function", f"there is no function {problem.name}", reply=reply)
    body = _body(code, function)
    if not body:
        raise Reject("cleaning", "no_function", f"{problem.name} has no body", reply=reply)
    if _parsed(problem.with_body(body)) is None:
        raise Reject("cleaning", "unparseable", "the problem with this body doesn't parse", reply=reply)
    if not _has_its_signature(code, function, problem):
        raise Reject("cleaning", "signature", f"{problem.name} has another signature", reply=reply)
    if (lines := body.count("\n") + 1) > max_lines:
        raise Reject("cleaning", "too_long", f"{lines} lines, {max_lines} are the most", reply=reply)
    return body


def _code_of(reply: str, name: str) -> str:
    """The last fenced block that defines the function, else the only one."""
    if "```" in reply:
        blocks = _FENCED.findall(reply)
        defining = [block for block in blocks if f"def {name}" in block]
        if not defining and len(blocks) != 1:
            raise Reject("cleaning", "no_code", f"{len(blocks)} fenced blocks, none defines {name}", reply=reply)
        return textwrap.dedent((defining or blocks)[-1])
    if not reply.strip():
        raise Reject("cleaning", "no_code", "the reply is empty")
    return reply


def _check_imports(code: str, tree: ast.Module | None, problem: Problem) -> None:
    """Step (a). Code that doesn't parse is searched line by line, so that its fault is the first one in the order."""
    if not (mentioned := _IMPORTING.findall(code)):
        return
    if tree is not None:
        extra = imports_of(tree) - problem.imports
    else:
        roots = {name.partition(".")[0] for name in problem.imports}
        extra = frozenset(
            found for pair in mentioned for found in pair if found and found.partition(".")[0] not in roots
        )
    if extra:
        raise Reject("cleaning", "imports", f"it imports {', '.join(sorted(extra))}", code=code)


def _has_its_signature(code: str, function: Function, problem: Problem) -> bool:
    """Mostly the lines of the signature are copied; only where they aren't is their meaning compared."""
    header = "\n".join(code.splitlines()[function.lineno - 1 : function.body[0].lineno - 1])
    return (header.startswith("def ") and header in problem.text) or signature_of(function) == problem.signature


def _parsed(code: str) -> ast.Module | None:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _body(code: str, function: Function) -> str:
    """The source lines below the signature and the docstring, with their comments, indented by four spaces."""
    statements = function.body[1:] if _is_docstring(function.body[0]) else function.body
    if not statements:
        return ""
    first, last = statements[0], statements[-1]
    lines = code.splitlines()
    if first.lineno == function.lineno:  # def double(n): return 2 * n
        return "    " + lines[first.lineno - 1].encode()[first.col_offset :].decode()
    begin = first.lineno - 1
    floor = function.body[0].end_lineno if statements is not function.body else function.body[0].lineno - 1
    while begin > (floor or 0) and lines[begin - 1].lstrip().startswith("#"):
        begin -= 1
    kept = lines[begin : last.end_lineno]
    if first.col_offset == 4 and not kept[0].startswith("\t"):
        return "\n".join(kept)
    return textwrap.indent(textwrap.dedent("\n".join(kept)), "    ")


def _is_docstring(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


# --- identity --------------------------------------------------------------------------------------------------------


def normalised_hash(code: str) -> str:
    """Equal for programs that differ only in names that they choose themselves, docstrings, types, and layout."""
    tree = ast.parse(code)
    _Normaliser(_own_names(tree)).visit(tree)
    return sha256(ast.dump(tree).encode()).hexdigest()[:32]


def _own_names(tree: ast.AST) -> set[str]:
    """Names that the program binds: functions, arguments, variables."""
    own: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name):
                own.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                own.add(name)
            case ast.ExceptHandler(name=str(name)):
                own.add(name)
    return own


class _Normaliser(ast.NodeTransformer):
    """Own names become numbers in the order in which they come; docstrings and types go."""

    def __init__(self, own: set[str]) -> None:
        self._own = own
        self._numbers: dict[str, str] = {}

    def _renamed(self, name: str) -> str:
        if name not in self._own:
            return name
        return self._numbers.setdefault(name, f"_{len(self._numbers)}")

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self._renamed(node.id)
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.arg, node.annotation = self._renamed(node.arg), None
        return node

    def visit_Global(self, node: ast.Global) -> ast.AST:
        node.names = [self._renamed(name) for name in node.names]
        return node

    def visit_Nonlocal(self, node: ast.Nonlocal) -> ast.AST:
        node.names = [self._renamed(name) for name in node.names]
        return node

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:
        node.name = self._renamed(node.name) if node.name else None
        self.generic_visit(node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        if node.value is None:
            return ast.Pass()
        return ast.Assign(targets=[node.target], value=node.value, type_comment=None)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.name, node.returns = self._renamed(node.name), None
        if _is_docstring(node.body[0]):
            node.body = node.body[1:] or [ast.Pass()]
        self.generic_visit(node)
        return node
