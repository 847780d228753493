"""An OpenAPI document as tools: one per operation, its parameters and the fields of its JSON body as arguments.

    "/pets/{petId}": {"get": {"operationId": "getPet", "parameters": [{"name": "petId", "in": "path", ...}]}}

becomes the tool `getPet` with the required argument `petId`. References into the document are kept as `$defs`. A body
that is no object, or that has a field named like a parameter, is the argument `body`. Refused: operations that need
cookies, an external reference, or a body that is no JSON.

Source: OpenAPI 3.1 and 2.0 (https://spec.openapis.org).
"""

import re
from collections.abc import Iterator
from typing import Any

from schemas.base import JsonObject
from schemas.json_schema import Refused, standard_schema
from schemas.tool_formats import Imported

_METHODS = ("get", "put", "post", "delete", "patch")


def is_openapi(value: Any) -> bool:
    return (
        isinstance(value, dict) and ("openapi" in value or "swagger" in value) and isinstance(value.get("paths"), dict)
    )


def import_openapi(document: JsonObject) -> Imported:
    """The operations as tools, in the document's order."""
    made = Imported()
    paths: Any = document["paths"]
    for path, item in paths.items():
        for method in _METHODS:
            operation = item.get(method) if isinstance(item, dict) else None
            if not isinstance(operation, dict):
                continue
            name = str(operation.get("operationId") or re.sub(r"[\W_]+", "_", f"{method}_{path}").strip("_"))
            repairs: list[tuple[str, str]] = []
            try:
                parameters = _Operation(document, repairs).parameters(item, operation)
            except Refused as refused:
                made.refuse(name, refused.kind, str(refused))
                continue
            told = [str(operation[key]) for key in ("summary", "description") if operation.get(key)]
            made.take(name, "\n".join(dict.fromkeys(told)), parameters, repairs)
    return made


class _Operation:
    """The arguments of one operation; `definitions` are what its references lead to."""

    def __init__(self, document: JsonObject, repairs: list[tuple[str, str]]) -> None:
        self._document = document
        self._repairs = repairs
        self._definitions: dict[str, Any] = {}

    def parameters(self, item: Any, operation: Any) -> JsonObject:
        properties: dict[str, Any] = {}
        required: list[str] = []
        for written in [*_listed(item), *_listed(operation)]:
            one = self._target(written)
            name, place = str(one.get("name")), one.get("in")
            if place in ("cookie", "formData"):
                raise Refused("shape", f"{name} is sent as {place}")
            if place == "body":  # OpenAPI 2.0
                self._body(one.get("schema", {}), bool(one.get("required")), properties, required)
                continue
            inline = ("type", "format", "enum", "items", "minimum", "maximum", "default", "pattern")
            schema = one.get("schema") or {key: one[key] for key in inline if key in one}
            properties[name] = self._schema(schema, name)
            if one.get("description"):
                properties[name].setdefault("description", one["description"])
            if (one.get("required") or place == "path") and name not in required:
                required.append(name)
        if "requestBody" in operation:
            body = self._target(operation["requestBody"])
            self._body(_json_content(body), bool(body.get("required")), properties, required)
        made: JsonObject = {"type": "object", "properties": properties}
        if required:
            made["required"] = [*required]
        if self._definitions:
            made["$defs"] = self._definitions
        return made

    def _body(self, schema: Any, needed: bool, properties: dict[str, Any], required: list[str]) -> None:
        """The body's fields beside the parameters where they can be told apart, else the argument `body`."""
        target = self._target(schema)
        fields = target.get("properties")
        if target.keys() & {"allOf", "anyOf", "oneOf"} or not isinstance(fields, dict) or fields.keys() & properties:
            properties["body"] = self._schema(schema, "body")
            required += ["body"] if needed else []
            return
        flat = self._schema(target, "body")
        inner: Any = flat["properties"]
        properties.update(inner)
        wanted: Any = flat.get("required", [])
        required += wanted if needed else []

    def _target(self, written: Any) -> dict[str, Any]:
        """What a reference leads to, or the object itself."""
        seen = 0
        while isinstance(written, dict) and "$ref" in written:
            written = self._resolve(str(written["$ref"]))
            seen += 1
            if seen > 20:
                raise Refused("reference", "a reference leads back to itself")
        if not isinstance(written, dict):
            raise Refused("shape", "a parameter, body or schema is no object")
        return written

    def _resolve(self, reference: str) -> Any:
        if not reference.startswith("#/"):
            raise Refused("reference", f"{reference} lies outside the document")
        found: Any = self._document
        for part in reference[2:].split("/"):
            part = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or part not in found:
                raise Refused("reference", f"{reference} leads nowhere")
            found = found[part]
        return found

    def _schema(self, schema: Any, where: str) -> JsonObject:
        """A schema whose references lead into `$defs`."""
        made = standard_schema(schema, where, self._repairs)
        for part in _with_reference(made):
            reference = str(part["$ref"])
            name = reference.rsplit("/", 1)[-1]
            part["$ref"] = f"#/$defs/{name}"
            if name not in self._definitions:
                self._definitions[name] = {}  # a type may hold itself
                self._definitions[name] = self._schema(self._resolve(reference), name)
        return made


def _listed(holder: dict[str, Any]) -> list[Any]:
    """The parameters of a path or an operation."""
    found = holder.get("parameters") or []
    if not isinstance(found, list):
        raise Refused("shape", "its parameters are no list")
    return found


def _with_reference(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema
        for part in schema.values():
            yield from _with_reference(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _with_reference(part)


def _json_content(body: dict[str, Any]) -> Any:
    content = body.get("content")
    if not isinstance(content, dict):
        raise Refused("shape", "its body has no content")
    for kind, held in content.items():
        if "json" in kind and isinstance(held, dict):
            return held.get("schema", {})
    raise Refused("shape", f"its body is {', '.join(content) or 'of no kind'}, not JSON")
