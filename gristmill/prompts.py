"""Prompts are Jinja files; values are data.

A template is rendered once, in a sandbox, with exactly the variables that it names: a missing and an unused variable
are both errors, because either means that the prompt isn't the one its author meant. A value that holds braces
stays as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateRuntimeError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from gristmill.errors import ConfigError

environment = ImmutableSandboxedEnvironment(
    undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=False, autoescape=False
)
environment.globals.clear()  # of range, lipsum and the like: a template sees its variables and nothing else


@dataclass(frozen=True)
class Prompt:
    """A compiled template. `digest` is the first 16 hex digits of the source's SHA-256.

    `plain` is the template as a %-format and its variables where it is no more than that: it gives what Jinja gives, at
    a tenth of the time, and `template` is None.
    """

    name: str
    template: Any
    variables: frozenset[str]
    digest: str
    plain: tuple[str, tuple[str, ...]] | None

    @classmethod
    def compile(cls, name: str, source: str) -> "Prompt":
        try:
            tree = environment.parse(source)
            plain = _plain(tree)
            variables = meta.find_undeclared_variables(tree) if plain is None else plain[1]
            template = environment.from_string(source) if plain is None else None
        except TemplateError as error:
            raise ConfigError(f"the prompt {name} is not a valid template: {error}.") from None
        return cls(name, template, frozenset(variables), sha256(source.encode()).hexdigest()[:16], plain)

    def render(self, variables: Mapping[str, Any]) -> str:
        """The text for exactly these variables; ConfigError where one is missing or unused."""
        if variables.keys() != self.variables:
            missing = sorted(self.variables - variables.keys())
            unused = sorted(variables.keys() - self.variables)
            faults = [
                f"{kind}: {', '.join(names)}" for kind, names in (("missing", missing), ("unused", unused)) if names
            ]
            raise ConfigError(f"the prompt {self.name} and its variables differ ({'; '.join(faults)}).")
        if self.plain is not None:
            text, names = self.plain
            return (text % tuple([variables[name] for name in names])).strip()
        try:
            return str(self.template.render(variables)).strip()
        except TemplateRuntimeError as error:
            raise ConfigError(f"the prompt {self.name} can't be rendered: {error}.") from None


def _plain(tree: nodes.Template) -> tuple[str, tuple[str, ...]] | None:
    """See `Prompt.plain`; None for a template with a condition, a loop, a filter or the like."""
    text, names = "", []
    for output in tree.body:
        for part in output.nodes if isinstance(output, nodes.Output) else [output]:
            if isinstance(part, nodes.TemplateData):
                text += part.data.replace("%", "%%")
            elif isinstance(part, nodes.Name):
                text += "%s"
                names.append(part.name)
            else:
                return None
    return text, tuple(names)


class PromptFolder:
    """The prompts of one generator or judge: `NAME.jinja` files in a folder, compiled when first used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._compiled: dict[str, Prompt] = {}

    def __getitem__(self, name: str) -> Prompt:
        if name not in self._compiled:
            path = self.folder / f"{name}.jinja"
            try:
                source = path.read_text(encoding="utf-8")
            except OSError:
                raise ConfigError(f"there is no prompt {path}.") from None
            self._compiled[name] = Prompt.compile(name, source)
        return self._compiled[name]
