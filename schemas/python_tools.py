'''Python functions as tools: the signature gives the arguments, the docstring what they mean. Nothing is executed.

    def find_trains(origin: str, day: date, seats: int = 1, fare: Literal["saver", "flex"] = "flex") -> list[dict]:
        """Find trains on a day.

        Args:
            origin: Where the journey begins.
        """

becomes the tool `find_trains` with the required `origin` (a string, described) and `day` (a string of format date), an
integer `seats` and an enumeration `fare`. Names that the module gives to types are followed. Every public function of
a module is a tool; a name that begins with _ is not. Refused: arguments without a type, with one that JSON can't hold,
*args and **kwargs.

Source: PEP 484, 586 (Literal), 593 (Annotated); docstrings in the styles of Google, NumPy and Sphinx.
'''

import ast
import copy
import inspect
import re
from typing import Any

from schemas.base import JsonObject
from schemas.json_schema import Refused
from schemas.tool_formats import Imported

_SIMPLE: dict[str, JsonObject] = {
    "str": {"type": "string"}, "int": {"type": "integer"}, "float": {"type": "number"}, "bool": {"type": "boolean"},
    "None": {"type": "null"}, "dict": {"type": "object"}, "list": {"type": "array"}, "Any": {}, "object": {},
    "tuple": {"type": "array"}, "set": {"type": "array", "uniqueItems": True},
    "date": {"type": "string", "format": "date"}, "datetime": {"type": "string", "format": "date-time"},
    "time": {"type": "string", "format": "time"}, "UUID": {"type": "string", "format": "uuid"},
}  # fmt: skip
_ARRAYS = ("list", "sequence", "iterable", "set", "frozenset")
_MAPS = ("dict", "mapping")


def import_functions(source: str) -> Imported:
    """The public functions of a module's source as tools. ValueError where it is no Python."""
    try:
        module = ast.parse(source)
    except SyntaxError as error:
        raise ValueError(f"no Python: {error}") from None
    made = Imported()
    aliases = _Aliases(module)
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            try:
                about, described = _docstring(ast.get_docstring(node) or "")
                made.take(node.name, about, _parameters(aliases.visit(node.args), described), [])
            except Refused as refused:
                made.refuse(node.name, refused.kind, str(refused))
    return made


class _Aliases(ast.NodeTransformer):
    """Puts types in the place of the names that a module gives them (`Day = Annotated[str, "YYYY-MM-DD"]`)."""

    def __init__(self, module: ast.Module) -> None:
        self._types = {
            target.id: node.value
            for node in module.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name) and isinstance(node.value, ast.Subscript | ast.BinOp | ast.Name)
        }

    def visit_Name(self, node: ast.Name) -> Any:
        named = self._types.pop(node.id, None)  # while it is read: an alias of itself ends here
        if named is None:
            return node
        resolved = self.visit(copy.deepcopy(named))
        self._types[node.id] = named
        return resolved


def _parameters(arguments: ast.arguments, described: dict[str, str]) -> JsonObject:
    if arguments.vararg or arguments.kwarg:
        raise Refused("shape", "takes any arguments (*args, **kwargs)")
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults)) + [*arguments.defaults]
    pairs = [*zip(positional, defaults, strict=True), *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    properties: dict[str, Any] = {}
    for argument, default in pairs:
        if argument.annotation is None:
            raise Refused("type", f"{argument.arg} has no type")
        schema = {**_schema(argument.annotation, argument.arg)}
        if argument.arg in described:
            schema["description"] = described[argument.arg]
        if default is not None and (value := _literal(default)) is not None:
            schema["default"] = value
        properties[argument.arg] = schema
    required = [argument.arg for argument, default in pairs if default is None]
    return {"type": "object", "properties": properties, **({"required": [*required]} if required else {})}


def _literal(node: ast.expr) -> Any:
    """A default that JSON can hold; None where there is none."""
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return None
    return value if isinstance(value, str | int | float | bool | list | dict) else None


def _schema(node: ast.expr, where: str) -> JsonObject:
    """An annotation as a JSON schema."""
    match node:
        case ast.Constant(value=None):
            return _SIMPLE["None"]
        case ast.Constant(value=str() as text):
            return _schema(ast.parse(text, mode="eval").body, where)
        case ast.Name() | ast.Attribute() if (name := _name(node)) in _SIMPLE:
            return _SIMPLE[name]
        case ast.BinOp(op=ast.BitOr()):
            return _any_of([_schema(node.left, where), _schema(node.right, where)])
        case ast.Subscript():
            inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            return _generic(_name(node.value), inner, where)
    raise Refused("type", f"{where} has the type {ast.unparse(node)}, which JSON can't hold")


def _name(node: ast.expr) -> str:
    """The last part of a dotted name."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _generic(outer: str, inner: list[ast.expr], where: str) -> JsonObject:
    if outer == "Literal":
        return {"enum": [ast.literal_eval(option) for option in inner]}
    if outer == "Annotated":
        told = [part.value for part in inner[1:] if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        return {**_schema(inner[0], where), **({"description": told[0]} if told else {})}
    parts = [_schema(part, where) for part in inner if not (isinstance(part, ast.Constant) and part.value is ...)]
    if outer == "Optional":
        return _any_of([*parts, _SIMPLE["None"]])
    if outer == "Union":
        return _any_of(parts)
    if outer.lower() in _ARRAYS:
        return {"type": "array", "items": parts[0], **({"uniqueItems": True} if "set" in outer.lower() else {})}
    if outer.lower() == "tuple":
        if len(parts) < len(inner):  # tuple[int, ...]
            return {"type": "array", "items": parts[0]}
        return {"type": "array", "prefixItems": [*parts], "minItems": len(parts), "maxItems": len(parts)}
    if outer.lower() in _MAPS:
        return {"type": "object", "additionalProperties": parts[-1]}
    raise Refused("type", f"{where} has the type {outer}[...], which JSON can't hold")


def _any_of(parts: list[JsonObject]) -> JsonObject:
    if all(part.keys() == {"type"} for part in parts):
        kinds = [
            kind for part in parts for kind in (part["type"] if isinstance(part["type"], list) else [part["type"]])
        ]
        return {"type": [*dict.fromkeys(map(str, kinds))]}
    return {"anyOf": [*parts]}


_SECTION = re.compile(
    r"^(?:Args|Arguments|Parameters|Params):?\s*$\n(?:-+\n)?(?P<body>(?:[ \t]*\S.*\n?|\n)+)", re.MULTILINE
)
_NEXT = re.compile(
    r"^(?:Returns?|Raises|Yields?|Examples?|Notes?):?\s*$|^:(?:param|type|returns?|raises)\b", re.MULTILINE
)
_GOOGLE = re.compile(
    r"^(?P<indent>[ \t]+)\*{0,2}(?P<name>\w+)(?: ?\([^)]*\))?: *(?P<told>.+(?:\n(?P=indent)[ \t]+\S.*)*)", re.MULTILINE
)
_NUMPY = re.compile(r"^(?P<name>\w+) ?:.*\n(?P<told>(?:[ \t]+\S.*\n?)+)", re.MULTILINE)
_SPHINX = re.compile(r"^:param (?:\w+ )?(?P<name>\w+): *(?P<told>.+(?:\n[ \t]+\S.*)*)", re.MULTILINE)


def _docstring(text: str) -> tuple[str, dict[str, str]]:
    """What the function does, and what each argument is, in three styles."""
    text = inspect.cleandoc(text)
    section = _SECTION.search(text)
    starts = [match.start() for match in (section, _NEXT.search(text)) if match]
    about = text[: min(starts)] if starts else text
    body = section["body"] if section else ""
    ends = _NEXT.search(body)
    body = body[: ends.start()] if ends else body
    described = {one["name"]: one["told"] for style in (_GOOGLE, _NUMPY) for one in style.finditer(body)}
    described |= {one["name"]: one["told"] for one in _SPHINX.finditer(text)}
    return " ".join(about.split()), {name: " ".join(told.split()) for name, told in described.items()}
