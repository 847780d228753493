"""`gristmill lint PATH`: is a dataset ready for supervised fine-tuning? Every row is read as a blend would read it.

    error      unknown_tool: 12 rows (0.30%)
                 line:17: book_flight is not among the tools (search)
    warning    repeated: 9 rows (0.23%)
                 line:802: as line:3

An *error* is what training would trip over or learn as wrong behaviour, a *warning* what is seldom meant. Rendering,
special tokens and lengths in tokens are checked with the tokenizer and template that sft will use, where they are
given; without them the chat formats' common control tokens are looked for.

Source: what our own renderer, packer and loss need, and the faults of public chat datasets that their users report.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from hashlib import blake2b
from itertools import islice, pairwise
from typing import Any, Literal, NamedTuple

from blends.reading import Input, adapt, rows_of
from blends.sizes import Rendering
from gristmill.config import first_fault
from gristmill.errors import ConfigError
from gristmill.quantiles import QuantileSketch
from gristmill.render import Renderer, RenderError, TokenSequence
from gristmill.seeds import BadSeed
from gristmill.text.language_id import identify
from gristmill.tools.checks import check_conversation
from schemas import Message, Record, canonical_json

Level = Literal["error", "warning"]

AT_ONCE = 256
EXAMPLES = 3
LANGUAGE_SAMPLE = 500  # rows
CONTROL = re.compile(r"<\|[a-z_]{2,40}\|>|\[/?INST\]|<</?SYS>>|</?(?:start|end)_of_turn>|<[|｜]\w+[▁_]of[▁_]\w+[|｜]>")
THINK = re.compile(r"</?think(?:ing)?>")

WARNINGS = {
    "unanswered",  # the last turn waits for an answer
    "empty_trace",
    "repeated_trace",  # the answer and its trace are one text
    "reasoning_column",  # it says `on` without a trace, or `off` with one
    "repeated",  # an earlier row is the same conversation
}
"""All other checks find errors: `unreadable`, `no_assistant`, `role_order`, `empty_turn`, `no_schemas`, `think_tag`,
`control_token`, `unrenderable`, `changed_by_template`, `mixed_types`, and the kinds of gristmill.tools.checks."""


class Fault(NamedTuple):
    check: str
    detail: str


class Found(NamedTuple):
    """One check's outcome over the dataset."""

    check: str
    level: Level
    rows: int
    examples: list[str]


class Report(NamedTuple):
    rows: int
    readable: int
    found: list[Found]
    languages: dict[str, int]
    lengths: dict[str, dict[str, int]]

    @property
    def has_errors(self) -> bool:
        return any(found.level == "error" for found in self.found)


def lint(inputs: list[Input], rendering: Rendering | None, say: Callable[[str], None]) -> Report:
    """Reads all rows of the inputs. ConfigError where the tokenizer or the template can't be had."""
    renderer = rendering.renderer() if rendering is not None else None
    linter = _Linter(renderer)
    for found in inputs:
        rows = rows_of(found)
        while batch := list(islice(rows, AT_ONCE)):
            linter.add(batch)
            say(f"{linter.rows:,} rows of {found.path}")
    return linter.report()


class _Linter:
    def __init__(self, renderer: Renderer | None) -> None:
        self.rows = 0
        self._renderer = renderer
        self._control = _control_of(renderer)
        self._readable = 0
        self._counts: Counter[str] = Counter()
        self._examples: defaultdict[str, list[str]] = defaultdict(list)
        self._seen: dict[bytes, str] = {}
        self._types: defaultdict[str, dict[str, str]] = defaultdict(dict)  # column -> type -> first place
        self._languages: Counter[str] = Counter()
        self._lengths: defaultdict[str, QuantileSketch] = defaultdict(QuantileSketch)

    def add(self, batch: list[tuple[str, dict[str, Any] | BadSeed]]) -> None:
        records: list[tuple[str, Record]] = []
        for where, raw in batch:
            self.rows += 1
            if not isinstance(raw, BadSeed):
                self._note_types(where, raw)
            try:
                record = adapt(raw)
            except ValueError as error:
                self._note(where, [Fault("unreadable", first_fault(error))])
                continue
            self._readable += 1
            faults = [*row_faults(record, self._control), *self._repetition(where, record)]
            if not isinstance(raw, BadSeed) and raw.get("reasoning") in ("on", "off"):
                faults += _reasoning_column(record)
            self._note(where, faults)
            self._measure(record)
            records.append((where, record))
        if self._renderer is not None:
            rendered = self._renderer.render(record for _, record in records)
            for (where, record), sequences in zip(records, rendered, strict=True):
                self._note(where, list(self._rendering_faults(record, sequences)))

    def report(self) -> Report:
        mixed = {
            column: ", ".join(f"{kind} ({where})" for kind, where in kinds.items())
            for column, kinds in self._types.items()
            if len(kinds) > 1
        }
        found = [
            Found(check, "warning" if check in WARNINGS else "error", count, self._examples[check])
            for check, count in self._counts.items()
        ]
        if mixed:
            examples = [f"{column}: {kinds}" for column, kinds in mixed.items()]
            found.append(Found("mixed_types", "error", self.rows, examples))
        found.sort(key=lambda one: (one.level, -one.rows, one.check))
        lengths = {
            what: {f"p{round(100 * share)}": round(sketch.quantile(share)) for share in (0.1, 0.5, 0.9, 1.0)}
            for what, sketch in self._lengths.items()
        }
        return Report(self.rows, self._readable, found, dict(self._languages.most_common()), lengths)

    def _note(self, where: str, faults: list[Fault]) -> None:
        """Counts each check once per row."""
        for check, detail in {fault.check: fault.detail for fault in reversed(faults)}.items():
            self._counts[check] += 1
            if len(self._examples[check]) < EXAMPLES:
                self._examples[check].append(f"{where}: {detail}")

    def _note_types(self, where: str, raw: dict[str, Any]) -> None:
        for column, value in _values(raw):
            kind = "number" if type(value) in (int, float) else type(value).__name__
            self._types[column].setdefault(kind, where)

    def _repetition(self, where: str, record: Record) -> Iterator[Fault]:
        said = [
            [message.model_dump(mode="json") for message in record.messages],
            [t.model_dump() for t in record.tools],
        ]
        digest = blake2b(canonical_json(said), digest_size=16).digest()
        first = self._seen.setdefault(digest, where)
        if first != where:
            yield Fault("repeated", f"as {first}")

    def _measure(self, record: Record) -> None:
        self._lengths["turns"].add(len(record.messages))
        characters = sum(len(m.content) + len(m.reasoning_content or "") for m in record.messages)
        self._lengths["characters"].add(max(characters, 1))
        if self._readable <= LANGUAGE_SAMPLE:
            answers = " ".join(m.content for m in record.messages if m.role == "assistant")
            self._languages[_language(answers[:4000])] += 1

    def _rendering_faults(self, record: Record, sequences: list[TokenSequence] | RenderError) -> Iterator[Fault]:
        if isinstance(sequences, RenderError):
            yield Fault("unrenderable", str(sequences))
            return
        assert self._renderer is not None
        self._lengths["tokens"].add(max(sum(len(sequence.ids) for sequence in sequences), 1))
        decode = self._renderer.tokenizer.decode
        written = "".join(decode(sequence.ids[sequence.supervised == 1]) for sequence in sequences)
        for number, message in enumerate(record.messages):
            if message.role == "assistant" and message.content not in written:
                yield Fault("changed_by_template", f"messages.{number}: the text is not what would be learned")


def _values(raw: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The values of a row, and of the objects in its lists: `tools`, `messages[].content`."""
    for column, value in raw.items():
        if value is not None:
            yield column, value
        if isinstance(value, list):
            yield from (
                (f"{column}[].{key}", v) for item in value if isinstance(item, dict) for key, v in _values(item)
            )


def row_faults(record: Record, control: re.Pattern[str]) -> Iterator[Fault]:
    """What is wrong with one conversation by itself."""
    yield from _order(record.messages)
    yield from _calls(record)
    for number, message in enumerate(record.messages):
        where = f"messages.{number}"
        texts = [message.content, message.reasoning_content or "", *(c.function.arguments for c in message.tool_calls)]
        if token := next((found for text in texts if (found := control.search(text))), None):
            yield Fault("control_token", f"{where}: {token[0]}")
        if message.role == "assistant":
            yield from _answer(message, where)
        elif not message.content.strip() and message.role == "user":
            yield Fault("empty_turn", f"{where}: the user says nothing")


def _order(messages: list[Message]) -> Iterator[Fault]:
    roles = [message.role for message in messages]
    if "assistant" not in roles:
        yield Fault("no_assistant", " ".join(roles))
        return
    if roles[-1] != "assistant":
        yield Fault("unanswered", f"the last turn is the {roles[-1]}'s")
    if "system" in roles[1:]:
        yield Fault("role_order", f"messages.{roles.index('system', 1)}: a system turn that is not the first")
    spoken = [(place, role) for place, role in enumerate(roles) if role != "system"]
    if spoken[0][1] == "tool":
        yield Fault("role_order", f"messages.{spoken[0][0]}: a tool turn comes first")
    for (_, before), (place, role) in pairwise(spoken):
        if role == before and role != "tool":
            yield Fault("role_order", f"messages.{place}: two {role} turns in a row")
        elif role == "tool" and before == "user":
            yield Fault("role_order", f"messages.{place}: a tool turn after the user's")


def _calls(record: Record) -> Iterator[Fault]:
    calls = [call for message in record.messages for call in message.tool_calls]
    if calls and not record.tools:
        yield Fault("no_schemas", f"{calls[0].function.name} is called, and the row has no tools")
    for fault in check_conversation(record.messages, record.tools):
        if record.tools or fault.kind != "unknown_tool":
            yield Fault(*fault)


def _answer(message: Message, where: str) -> Iterator[Fault]:
    trace, content = message.reasoning_content, message.content
    if not content.strip() and not message.tool_calls:
        yield Fault("empty_turn", f"{where}: the assistant says and calls nothing")
    if tag := THINK.search(content) or (trace and THINK.search(trace)):
        yield Fault("think_tag", f"{where}: {tag[0]}")
    if trace is None:
        return
    if not trace.strip():
        yield Fault("empty_trace", where)
    elif len(content) > 200 and (content.strip() in trace or trace.strip() in content):
        yield Fault("repeated_trace", f"{where}: the answer and its trace are the same text")


def _reasoning_column(record: Record) -> list[Fault]:
    traced = any((message.reasoning_content or "").strip() for message in record.messages)
    if (record.reasoning == "on") == traced:
        return []
    return [Fault("reasoning_column", f"{record.reasoning}, and there is {'a' if traced else 'no'} trace")]


def _control_of(renderer: Renderer | None) -> re.Pattern[str]:
    if renderer is None:
        return CONTROL
    tokens = sorted((token for token in renderer.control if not THINK.fullmatch(token)), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, tokens)) or r"(?!)")


def _language(text: str) -> str:
    try:
        return identify(text)[0] or "none"
    except ConfigError:  # the extra is not installed
        return "not looked at"
