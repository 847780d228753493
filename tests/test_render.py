"""Chat rendering: the text against TRL's template, the masks and the token ids against what inference would do."""

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import normalizers

from gristmill.errors import ConfigError, GristmillError
from gristmill.render import (
    ChatTokenizer,
    History,
    Renderer,
    RenderError,
    TokenCount,
    TokenSequence,
    load_renderer,
    load_template,
    renderer_for,
)
from gristmill.render.encoder import PROBES, Encoder
from gristmill.render.jinja import JinjaTemplate
from gristmill.render.nemotron3 import CONTROL_TOKENS, Nemotron3
from gristmill.render.pieces import Block, Conversation, has_trace, spans
from gristmill.render.tokenizers import train
from schemas import Function, FunctionSpec, Message, Record, Tool, ToolCall, assistant, system, tool, user

HISTORIES: list[History] = ["truncate", "keep"]
CONTROL_TEXTS = ["<|im_end|>\n<|im_start|>user\n", "<think>", "</think>", "<tool_call>\n<function=f>", "<|endoftext|>"]
ODD_TEXTS = ["{{ messages }} {% generation %} {x}", "  blanks around \n\n", "Grüße, 世界 🙂 42", "\ufdd0\ufdd1", ""]
Texts = st.SearchStrategy[str]
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
MANY = settings(PATIENT, max_examples=300)


def some_text(samples: list[str]) -> Texts:
    return st.sampled_from(samples) | st.text(max_size=30) | st.lists(st.sampled_from(samples), max_size=3).map("".join)


ANY_TEXT = some_text(CONTROL_TEXTS + ODD_TEXTS)
NO_THINK_TAGS = some_text([text for text in CONTROL_TEXTS if "think>" not in text] + ODD_TEXTS)


def json_values(texts: Texts) -> st.SearchStrategy[Any]:
    numbers = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
    leaves = st.none() | st.booleans() | numbers | texts
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=5
    )


@st.composite
def tools(draw: st.DrawFn, texts: Texts) -> Tool:
    value = json_values(texts)
    usual = st.fixed_dictionaries(
        {}, optional={"type": value, "description": texts, "enum": st.lists(value, max_size=3), "items": value}
    )
    optional: dict[str, st.SearchStrategy[Any]] = {
        "properties": st.dictionaries(texts, value | usual, max_size=3),
        "required": st.lists(texts, max_size=2),
        "additionalProperties": value,
    }
    parameters = draw(st.fixed_dictionaries({"type": st.just("object")}, optional=optional))
    more = draw(st.fixed_dictionaries({}, optional={"strict": value}))
    function = {"name": draw(texts), "description": draw(texts), "parameters": parameters, **more}
    return Tool(function=FunctionSpec.model_validate(function))


@st.composite
def calls(draw: st.DrawFn, texts: Texts) -> ToolCall:
    given_values = draw(st.dictionaries(texts, json_values(texts), max_size=3))
    return ToolCall(id="c", function=Function(name=draw(texts), arguments=json.dumps(given_values)))


@st.composite
def replies(draw: st.DrawFn, texts: Texts, contents: Texts) -> list[Message]:
    """What follows a user's message: calls with their results, an answer, or nothing."""
    messages: list[Message] = []
    for _ in range(draw(st.integers(0, 2))):
        made = draw(st.lists(calls(texts), min_size=1, max_size=2))
        messages.append(assistant(draw(contents), draw(st.none() | texts), made))
        messages += [tool(draw(texts), "c") for _ in range(draw(st.integers(1, 2)))]
    if draw(st.integers(0, 5)):
        messages.append(assistant(draw(contents), draw(st.none() | texts)))
    return messages


@st.composite
def records(draw: st.DrawFn, texts: Texts = ANY_TEXT, contents: Texts | None = None) -> Record:
    """A conversation of any shape: with or without system message, greeting, tools, traces, a second system message.
    `contents` is what the assistant says, where that is to differ from other texts."""
    contents = texts if contents is None else contents
    messages = [system(draw(texts))] if draw(st.booleans()) else []
    messages += [assistant(draw(contents), draw(st.none() | texts))] if draw(st.integers(0, 5)) == 0 else []
    for _ in range(draw(st.integers(0 if messages else 1, 3))):
        messages += [user(draw(texts)), *draw(replies(texts, contents))]
    if draw(st.integers(0, 7)) == 0:
        messages.append(system(draw(texts)))
    return Record(
        messages=messages,
        tools=draw(st.lists(tools(texts), max_size=2)),
        reasoning=draw(st.sampled_from(["on", "on", "low", "off"])),
        uuid="0" * 32,
    )


def content_has_think_tags(record: Record) -> bool:
    """Where the hub's template takes an assistant's content for markup."""
    return any(m.role == "assistant" and ("<think>" in m.content or "</think>" in m.content) for m in record.messages)


@cache
def small_tokenizer() -> ChatTokenizer:
    return train("train:400", ["The answer is 42.\nuser assistant system", "tool_response parameter function " * 20])


@cache
def small_renderer(history: History = "truncate") -> Renderer:
    return renderer_for(small_tokenizer(), "nemotron3", history)


def templates_of_trl() -> Path:
    spec = find_spec("trl")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "chat_templates"


def hugging_face(
    source: str, record: Record, end: int | None = None, **options: Any
) -> tuple[str, list[tuple[int, int]]]:
    """The text as transformers renders it, and where the template's marks stand, for the first `end` messages."""
    from transformers.utils.chat_template_utils import render_jinja_template

    messages: list[dict[str, Any]] = [message.to_openai() for message in Conversation.of(record).messages[:end]]
    for message in messages:
        for call in message.get("tool_calls", []):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"] or "{}")
    rendered: Any = render_jinja_template(
        conversations=[messages],
        tools=[t.model_dump(mode="json") for t in record.tools] or None,
        chat_template=source,
        return_assistant_tokens_mask="generation %}" in source,
        **options,
    )
    return rendered[0][0], rendered[1][0] if rendered[1] else []


def text_of(blocks: list[Block]) -> str:
    return "".join(piece.text for block in blocks for piece in block)


def outputs_of(blocks: list[Block]) -> list[str]:
    """The maximal stretches of supervised text."""
    pieces = [piece for block in blocks for piece in block if piece.text]
    return ["".join(p.text for p in run) for flag, run in groupby(pieces, lambda p: p.supervised) if flag]


def flags_of(blocks: list[Block]) -> list[bool]:
    """Whether a character is supervised."""
    return [piece.supervised for block in blocks for piece in block for _ in piece.text]


def sequences(renderer: Renderer, record: Record) -> list[TokenSequence]:
    (rendered,) = renderer.render([record])
    assert not isinstance(rendered, RenderError)
    return rendered


def runs(sequence: TokenSequence) -> Iterator[tuple[bool, list[int]]]:
    for flag, pairs in groupby(zip(sequence.supervised.tolist(), sequence.ids.tolist(), strict=True), lambda p: p[0]):
        yield bool(flag), [token for _, token in pairs]


# --- text


@MANY
@given(records(contents=NO_THINK_TAGS).filter(lambda r: not content_has_think_tags(r)), st.sampled_from(HISTORIES))
def test_the_text_is_that_of_trls_nemotron_template(record: Record, history: History) -> None:
    oracle = (templates_of_trl() / "nemotron_3_super_training.jinja").read_text()
    conversation = Conversation.of(record)
    options = {"low_effort": record.reasoning == "low", "truncate_history_thinking": history == "truncate"}
    rendered = Nemotron3().sequences(conversation, history)
    ends = [span.end for span in spans(conversation, history)]
    assert [text_of(blocks) for blocks in rendered] == [hugging_face(oracle, record, end, **options)[0] for end in ends]


@pytest.mark.parametrize("content", ["  indented\n", "\n\n", "plain"])
@pytest.mark.parametrize("trace", [None, " so "])
@pytest.mark.parametrize("made", [[], [ToolCall(id="1", function=Function(name="f", arguments=""))]])
@pytest.mark.parametrize("past", [True, False])
def test_blanks_around_content_are_those_of_the_template(
    content: str, trace: str | None, made: list[ToolCall], past: bool
) -> None:
    oracle = (templates_of_trl() / "nemotron_3_super_training.jinja").read_text()
    record = Record(
        messages=[user("a"), assistant(content, trace, made), *([user("b"), assistant("B")] if past else [])]
    )
    *_, last = Nemotron3().sequences(Conversation.of(record), "truncate")
    assert text_of(last) == hugging_face(oracle, record)[0]


@PATIENT
@given(records(), st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_the_saved_template_renders_as_trls(record: Record, low: bool, cut: bool, think: bool, prompt: bool) -> None:
    """Also where an assistant's content holds think tags, because clients send such content back."""
    options = {
        "low_effort": low,
        "truncate_history_thinking": cut,
        "enable_thinking": think,
        "add_generation_prompt": prompt,
    }
    oracle = (templates_of_trl() / "nemotron_3_super_training.jinja").read_text()
    assert hugging_face(Nemotron3().source, record, **options)[0] == hugging_face(oracle, record, **options)[0]


def test_think_tags_in_content_are_text_where_the_hub_template_takes_them_for_markup() -> None:
    record = Record(
        messages=[user("What opens a trace?"), assistant("<think>, and </think> ends it."), user("Thanks.")]
    )
    (blocks,) = Nemotron3().sequences(Conversation.of(record), "truncate")
    assert "assistant\n<think></think><think>, and </think> ends it.<|im_end|>" in text_of(blocks)
    assert "assistant\n<think></think> ends it.<|im_end|>" in hugging_face(Nemotron3().source, record)[0]


def test_a_thinking_budget_and_low_effort_are_flags_in_the_last_user_turn() -> None:
    record = Record(
        messages=[user("one"), assistant("1"), user("two"), assistant("2", "hm")],
        reasoning="low",
        metadata={"thinking_budget": 128},
    )
    (blocks,) = Nemotron3().sequences(Conversation.of(record), "truncate")
    flags = "\n\n{reasoning effort: low}\n\n{thinking budget: 128 tokens}"
    assert text_of(blocks).count(flags) == 1
    assert f"user\ntwo{flags}<|im_end|>" in text_of(blocks)
    served, _ = hugging_face(Nemotron3().source, record, low_effort=True, thinking_budget=128)
    assert served == text_of(blocks)


def test_reasoning_off_leaves_traces_out() -> None:
    record = Record(messages=[user("2+2?"), assistant("4", "two and two")], reasoning="off")
    (blocks,) = Nemotron3().sequences(Conversation.of(record), "truncate")
    assert "<think></think>4<|im_end|>" in text_of(blocks)
    assert outputs_of(blocks) == ["4<|im_end|>"]


# --- masks


@MANY
@given(records(contents=NO_THINK_TAGS).filter(lambda r: not content_has_think_tags(r)), st.sampled_from(HISTORIES))
def test_supervised_is_what_the_assistant_writes(record: Record, history: History) -> None:
    """TRL marks whole turns: also the opening tag (or empty trace) and the last newline, which nobody writes. Of a
    sequence, only the turns after its last user message are marked here, if earlier ones have lost a trace."""
    oracle = (templates_of_trl() / "nemotron_3_super_training.jinja").read_text()
    conversation = Conversation.of(record)
    options = {"low_effort": record.reasoning == "low", "truncate_history_thinking": history == "truncate"}
    for span, blocks in zip(spans(conversation, history), Nemotron3().sequences(conversation, history), strict=True):
        earlier = sum(m.role == "assistant" for m in conversation.messages[: span.start])
        text, marks = hugging_face(oracle, record, span.end, **options)
        marked = [text[start:end] for start, end in marks[earlier:]]
        written = [turn.removeprefix("<think></think>").removeprefix("<think>\n") for turn in marked]
        assert outputs_of(blocks) == [turn.removesuffix("\n") for turn in written]
        assert all(turn.endswith("<|im_end|>\n") for turn in marked)


@PATIENT
@given(records(), st.sampled_from(HISTORIES))
def test_each_assistant_turn_is_supervised_once_and_no_trace_is_lost(record: Record, history: History) -> None:
    conversation = Conversation.of(record)
    last_user = conversation.last_user()
    found = list(spans(conversation, history))
    covered = [i for span in found for i in range(span.start, span.end) if conversation.messages[i].role == "assistant"]
    assert covered == [i for i, m in enumerate(conversation.messages) if m.role == "assistant"]
    if history == "truncate" and any(has_trace(m) for m in conversation.messages[: max(last_user, 0)]):
        assert not any(m.role == "user" for span in found for m in conversation.messages[span.start + 1 : span.end])
    else:
        assert len(found) == 1


def test_traces_in_several_turns_make_a_sequence_per_user_turn() -> None:
    talk = [
        user("a"),
        assistant("A", "1"),
        user("b"),
        tool("unasked", "x"),
        assistant("B"),
        user("c"),
        assistant("C", "3"),
    ]
    record = Record(messages=talk)
    outputs = [outputs_of(blocks) for blocks in Nemotron3().sequences(Conversation.of(record), "truncate")]
    assert outputs == [["1\n</think>\nA<|im_end|>"], ["B<|im_end|>"], ["3\n</think>\nC<|im_end|>"]]
    (kept,) = Nemotron3().sequences(Conversation.of(record), "keep")
    assert outputs_of(kept) == [output for (output,) in outputs]


GOLDEN = yaml.safe_load((Path(__file__).parent / "data/masks.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", GOLDEN, ids=[case["name"] for case in GOLDEN])
def test_the_masks_of_every_mode(case: dict[str, Any]) -> None:
    """From the token ids: what they spell, with the supervised ones in double brackets."""
    renderer = small_renderer(case["history"])
    found = []
    for sequence in sequences(renderer, Record.model_validate(case["record"])):
        stretches = ((flag, renderer.tokenizer.decode(ids)) for flag, ids in runs(sequence))
        found.append("".join(f"⟦{text}⟧" if flag else text for flag, text in stretches))
    assert found == case["sequences"]


# --- token ids


@PATIENT
@given(records(), st.sampled_from(HISTORIES))
def test_tokens_spell_the_text_and_their_mask_the_outputs(record: Record, history: History) -> None:
    renderer = small_renderer(history)
    blocks = Nemotron3().sequences(Conversation.of(record), history)
    for sequence, expected in zip(sequences(renderer, record), blocks, strict=True):
        assert renderer.tokenizer.decode(sequence.ids) == text_of(expected)
        outputs = [renderer.tokenizer.decode(ids) for supervised, ids in runs(sequence) if supervised]
        assert outputs == outputs_of(expected)


@PATIENT
@given(records())
def test_values_never_become_control_tokens(record: Record) -> None:
    renderer = small_renderer()
    blocks = Nemotron3().sequences(Conversation.of(record), "truncate")
    for sequence, expected in zip(sequences(renderer, record), blocks, strict=True):
        control = [renderer.control[p.text] for block in expected for p in block if p.control]
        assert [token for token in sequence.ids.tolist() if token in renderer.control.values()] == control


def plain(record: Record) -> bool:
    values = record.model_dump_json()
    return not any(token in values for token in [*CONTROL_TOKENS, "<|endoftext|>"])


def assert_tokens_as_at_inference(renderer: Renderer, record: Record) -> None:
    """What is read and what is written are each tokenised as a whole, with control tokens recognised."""
    for sequence in sequences(renderer, record):
        for _, ids in runs(sequence):
            text = renderer.tokenizer.decode(ids)
            assert renderer.tokenizer.tokenizer.encode(text, add_special_tokens=False).ids == ids


@PATIENT
@given(records(some_text(ODD_TEXTS)).filter(plain))
def test_tokens_are_those_of_inference(record: Record) -> None:
    assert_tokens_as_at_inference(small_renderer(), record)


@PATIENT
@given(records())
def test_a_prompt_is_the_beginning_of_what_is_trained(record: Record) -> None:
    renderer = small_renderer()
    conversation = Conversation.of(record)
    for span, sequence in zip(spans(conversation, "truncate"), sequences(renderer, record), strict=True):
        turns = [i for i in range(span.start, span.end) if record.messages[i].role == "assistant" and i > 0]
        if len(turns) != 1 or record.messages[turns[0] - 1].role == "assistant":
            continue
        if conversation.thinking != has_trace(conversation.messages[turns[0]]):
            continue  # the prompt asked for a trace, and the turn has none
        before = record.model_copy(update={"messages": record.messages[: turns[0]]})
        if Conversation.of(before).last_user() != conversation.up_to(span.end).last_user():
            continue
        prompt = renderer.prompt(before)
        assert prompt.tolist() == sequence.ids[: len(prompt)].tolist()
        assert sequence.supervised.tolist().index(1) == len(prompt)


def test_a_prompt_needs_something_to_answer() -> None:
    with pytest.raises(RenderError, match="a prompt ends with"):
        small_renderer().prompt(Record(messages=[user("hi"), assistant("ho")]))


def test_each_text_is_tokenised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the work is linear in the turns, although the sequences together are not."""
    renderer = renderer_for(small_tokenizer(), "nemotron3")
    talk = [
        m for i in range(50) for m in (user(f"question {i} " * 20), assistant(f"answer {i} " * 20, f"trace {i} " * 20))
    ]
    characters = 0
    encode = renderer._encode

    def counted(texts: list[str]) -> Any:
        nonlocal characters
        characters += sum(map(len, texts))
        return encode(texts)

    monkeypatch.setattr(renderer, "_encode", counted)
    rendered = sequences(renderer, Record(messages=talk))
    written = sum(len(m.content) + len(m.reasoning_content or "") for m in talk)
    assert len(rendered) == 50
    assert sum(len(renderer.tokenizer.decode(s.ids)) for s in rendered) > 15 * written
    assert characters < 1.2 * written


def test_counts_are_over_all_sequences() -> None:
    renderer = small_renderer()
    record = Record(messages=[user("a"), assistant("A", "1"), user("b"), assistant("B", "2")])
    rendered = sequences(renderer, record)
    (counted,) = renderer.count([record])
    assert len(rendered) == 2
    assert counted == TokenCount(sum(len(s.ids) for s in rendered), sum(int(s.supervised.sum()) for s in rendered))


@pytest.mark.parametrize("arguments", ["[1]", "{", '"x"', '{"a": "\\ud800"}', "[" * 100_000])
def test_a_call_without_a_json_object_cant_be_rendered(arguments: str) -> None:
    call = ToolCall(id="1", function=Function(name="search", arguments=arguments))
    good = Record(messages=[user("a"), assistant("A")])
    bad, rendered = small_renderer().render([Record(messages=[user("go"), assistant("", None, [call])]), good])
    assert isinstance(bad, RenderError)
    assert "arguments of the call to search" in str(bad)
    assert not isinstance(rendered, RenderError)


@pytest.mark.parametrize("budget", [-1, True, "12"])
def test_a_thinking_budget_is_a_number(budget: int | str) -> None:
    record = Record(messages=[user("a"), assistant("A")], metadata={"thinking_budget": budget})
    (rendered,) = small_renderer().render([record])
    assert isinstance(rendered, RenderError)
    assert "thinking_budget" in str(rendered)


# --- Jinja templates

CHATML = (Path(__file__).parent / "data/chatml.jinja").read_text(encoding="utf-8")


def jinja_renderer(path: Path, source: str, history: History = "truncate") -> Renderer:
    path.write_text(source)
    return renderer_for(small_tokenizer(), str(path), history)


TRLS = sorted(templates_of_trl().glob("*_training.jinja"))


@pytest.mark.parametrize("path", [p for p in TRLS if "llava" not in p.stem], ids=lambda p: p.stem)  # llava: images only
def test_trls_templates_render_as_in_transformers_with_the_same_outputs(path: Path) -> None:
    source = path.read_text()
    record = Record(
        messages=[system("Be brief."), user("2+2?"), assistant("4"), user("3+3?"), assistant("6", "three and three")]
    )
    template, rendered = JinjaTemplate(source, CONTROL_TOKENS), 0
    for talk in (record, record.model_copy(update={"messages": record.messages[1:]})):
        try:
            text, marks = hugging_face(
                source, talk, enable_thinking=True, low_effort=False, truncate_history_thinking=True
            )
        except Exception:  # some templates know no system message
            with pytest.raises(RenderError, match="the template fails on the conversation"):
                template.sequences(Conversation.of(talk), "truncate")
            continue
        ((block,),) = template.sequences(Conversation.of(talk), "truncate")
        assert text_of([block]) == text
        assert flags_of([block]) == [any(start <= i < end for start, end in marks) for i in range(len(text))]
        rendered += 1
    assert rendered


def test_marks_in_a_macro_are_exact(tmp_path: Path) -> None:
    renderer = jinja_renderer(tmp_path / "chatml.jinja", CHATML)
    (sequence,) = sequences(
        renderer, Record(messages=[user("hello"), assistant("hi"), user("bye"), assistant("so long")])
    )
    outputs = [renderer.tokenizer.decode(ids) for supervised, ids in runs(sequence) if supervised]
    assert outputs == ["hi<|im_end|>", "so long<|im_end|>"]


@PATIENT
@given(record=records())
def test_values_in_a_jinja_template_are_literal(tmp_path_factory: pytest.TempPathFactory, record: Record) -> None:
    record = record.model_copy(update={"tools": []})
    renderer = jinja_renderer(tmp_path_factory.getbasetemp() / "chatml.jinja", CHATML, "keep")
    (sequence,) = sequences(renderer, record)
    text = "".join(f"<|im_start|>{m.role}\n{m.content}<|im_end|>\n" for m in record.messages)
    assert renderer.tokenizer.decode(sequence.ids) == text
    ends = sequence.ids.tolist().count(renderer.tokenizer.eos_id)
    assert ends == len(record.messages)
    outputs = "".join(renderer.tokenizer.decode(ids) for supervised, ids in runs(sequence) if supervised)
    assert outputs == "".join(m.content + "<|im_end|>" for m in record.messages if m.role == "assistant")


def test_a_jinja_template_makes_a_sequence_per_user_turn_too(tmp_path: Path) -> None:
    renderer = jinja_renderer(tmp_path / "chatml.jinja", CHATML)
    record = Record(messages=[user("a"), assistant("A", "1"), user("b"), assistant("B", "2")])
    first, second = sequences(renderer, record)
    assert [renderer.tokenizer.decode(ids) for supervised, ids in runs(first) if supervised] == ["A<|im_end|>"]
    assert [renderer.tokenizer.decode(ids) for supervised, ids in runs(second) if supervised] == ["B<|im_end|>"]
    prompt = renderer.prompt(record.model_copy(update={"messages": record.messages[:3]}))
    assert second.ids[: len(prompt)].tolist() == prompt.tolist()


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "mark what the assistant writes"),
        ("{% generation %}{{ }}{% endgeneration %}", "template: line 1"),
    ],
)
def test_a_wrong_template_is_a_wrong_config(tmp_path: Path, source: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        jinja_renderer(tmp_path / "wrong.jinja", source).render([Record(messages=[user("a"), assistant("b")])])


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        (
            "{{ raise_exception('no such role') }}{% generation %}{% endgeneration %}",
            "fails on the conversation: no such",
        ),
        ("{{ 1 / 0 }}{% generation %}{% endgeneration %}", "fails on the conversation"),
        ("{{ ''.__class__.mro() }}{% generation %}{% endgeneration %}", "fails on the conversation"),
        ("{% if not messages %}{% generation %}{% endgeneration %}{% endif %}", "marks none"),
        ("{% set x %}{% generation %} b {% endgeneration %}{% endset %}{{ x | trim }}", "changes text that it marks"),
        ("{% generation %}{% generation %}b{% endgeneration %}{% endgeneration %}", "overlap"),
    ],
)
def test_what_a_template_cant_render_is_said(tmp_path: Path, source: str, complaint: str) -> None:
    renderer = jinja_renderer(tmp_path / "odd.jinja", source)
    (rendered,) = renderer.render([Record(messages=[user("a"), assistant("b")])])
    assert isinstance(rendered, RenderError)
    assert complaint in str(rendered)


def test_a_template_that_rewrites_answered_turns_needs_history_keep(tmp_path: Path) -> None:
    source = "{% for m in messages %}{{ loop.length }}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
    record = Record(messages=[user("a"), assistant("A", "1"), user("b"), assistant("B")])
    (rendered,) = jinja_renderer(tmp_path / "odd.jinja", source).render([record])
    assert isinstance(rendered, RenderError)
    assert "history: keep" in str(rendered)


def test_a_missing_template_is_named() -> None:
    with pytest.raises(ConfigError, match="nowhere is neither nemotron3 nor"):
        load_template("nowhere")


# --- the fast encoder


def wild(folder: Path, shared_data: Path) -> str:
    """A folder with Qwen's tokenizer: text is normalised, and <think> and <tool_call> are added but not special."""
    folder.mkdir(exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        packed = shared_data / "tokenizers" / "qwen3" / f"{name}.gz"
        (folder / name).write_bytes(gzip.decompress(packed.read_bytes()))
    return str(folder)


ANY_CHARACTERS = st.characters(exclude_categories=["Cs"])
ODD_CHARACTERS = st.sampled_from(list(" \n\r\t\u00a0\u2028\u0301\u0327'sStT0159é가각👩\u200d🏳️İſ"))
ODD_PIECES = st.sampled_from([*PROBES, *CONTROL_TEXTS, *ODD_TEXTS]) | st.text(ANY_CHARACTERS | ODD_CHARACTERS)
Pieces = st.lists(st.lists(ODD_PIECES, max_size=4).map("".join), min_size=1, max_size=8)


def assert_exact(tokenizer: ChatTokenizer, texts: list[str]) -> None:
    encoder = Encoder(tokenizer.tokenizer, tokenizer.control_tokens(Nemotron3().source))
    assert encoder.is_fast
    expected = encoder.exact.encode_batch(texts, add_special_tokens=False)
    assert [ids.tolist() for ids in encoder(texts)] == [encoding.ids for encoding in expected]


@PATIENT
@given(texts=Pieces)
def test_the_fast_encoder_gives_the_same_ids(texts: list[str]) -> None:
    assert_exact(small_tokenizer(), texts)


@pytest.mark.shared
def test_the_fast_encoder_gives_the_same_ids_for_a_tokenizer_in_the_wild(shared_data: Path, tmp_path: Path) -> None:
    tokenizer = load_renderer(wild(tmp_path, shared_data), "nemotron3").tokenizer
    encoder = Encoder(tokenizer.tokenizer, tokenizer.control_tokens(Nemotron3().source))
    assert encoder.is_fast

    @PATIENT
    @given(texts=Pieces)
    def same(texts: list[str]) -> None:
        expected = encoder.exact.encode_batch(texts, add_special_tokens=False)
        assert [ids.tolist() for ids in encoder(texts)] == [encoding.ids for encoding in expected]

    same()


def test_a_tokenizer_that_fastokens_does_not_know_is_used_itself() -> None:
    """fastokens has no such normaliser."""
    tokenizer = train("train:300", ["Grüße"])
    tokenizer.tokenizer.normalizer = normalizers.BertNormalizer(clean_text=False, lowercase=False, strip_accents=False)
    encoder = Encoder(tokenizer.tokenizer, {})
    assert not encoder.is_fast
    assert [tokenizer.decode(ids) for ids in encoder(["a世b", "c"])] == ["a 世 b", "c"]


def test_a_difference_between_the_encoders_stops_with_a_sentence() -> None:
    """As if fastokens had a fault that no probe finds: here it holds another vocabulary."""
    encoder, other = (Encoder(train("train:300", [text]).tokenizer, {}) for text in ("abab" * 9, "cdcd" * 9))
    encoder.fast = other.fast
    with pytest.raises(GristmillError, match=r"different tokens for 'abab'; uninstall fastokens"):
        list(encoder(["abab"]))


def test_the_encoder_goes_by_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gristmill.render.encoder.BATCH_CHARACTERS", 5)
    encoder, texts = Encoder(small_tokenizer().tokenizer, {}), ["abc", "", "defghijkl", "m", "n", "opqrst", ""]
    assert [small_tokenizer().decode(ids) for ids in encoder(texts)] == texts
    assert list(encoder([])) == []


# --- tokenizers


def test_training_is_deterministic_and_gives_n_tokens(tmp_path: Path) -> None:
    texts = [f"the {name} jumps 42 times over {name.upper()}\n" for name in sorted(sys.stdlib_module_names)]
    first, second = train("train:320", texts), train("train:320", texts)
    assert first.vocab_size == 320
    assert first.fingerprint() == second.fingerprint()
    assert first.tokenizer.encode("1234", add_special_tokens=False).tokens == ["1", "2", "3", "4"]
    code = (
        "import sys; from gristmill.render.tokenizers import train; print(train('train:320', sys.stdin).fingerprint())"
    )
    anew = subprocess.run(
        [sys.executable, "-c", code], input="".join(texts), capture_output=True, text=True, check=True, timeout=60
    )
    assert anew.stdout.strip() == first.fingerprint()


@pytest.mark.parametrize("name", ["train:", "train:many", "train:100"])
def test_a_wrong_size_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="should be train:N"):
        load_renderer(name, "nemotron3")


@PATIENT
@given(records())
def test_transformers_loads_what_is_saved(tmp_path_factory: pytest.TempPathFactory, record: Record) -> None:
    loaded = auto_tokenizer(tmp_path_factory.getbasetemp() / "saved")
    text, _ = hugging_face(Nemotron3().source, record)
    ids = small_tokenizer().tokenizer.encode(text, add_special_tokens=False).ids
    assert loaded(text)["input_ids"] == ids
    messages = [{"role": "user", "content": "hi"}]
    prompt = loaded.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert prompt.endswith("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<think>\n")
    assert (loaded.eos_token, loaded.pad_token) == ("<|im_end|>", "<|endoftext|>")


@cache
def auto_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    small_tokenizer().save(folder, Nemotron3().source)
    (folder / "config.json").write_text('{"model_type": "nemotron_h"}')  # as in a checkpoint
    return AutoTokenizer.from_pretrained(folder)


def test_a_saved_folder_loads_as_the_same_tokenizer(tmp_path: Path) -> None:
    small_tokenizer().save(tmp_path / "saved", "template")
    again = load_renderer(str(tmp_path / "saved"), "nemotron3").tokenizer
    assert again.fingerprint() == small_tokenizer().fingerprint()
    assert (again.eos_id, again.pad_id) == (small_tokenizer().eos_id, small_tokenizer().pad_id)


def spoilt(folder: Path, change: Any) -> str:
    """A saved tokenizer with its tokenizer.json changed; the folder's name."""
    small_tokenizer().save(folder, "template")
    config = json.loads((folder / "tokenizer.json").read_text())
    change(config)
    (folder / "tokenizer.json").write_text(json.dumps(config))
    return str(folder)


def test_tokenizers_that_cant_serve_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"empty has no tokenizer\.json"):
        load_renderer(str(tmp_path / "empty"), "nemotron3")
    (tmp_path / "empty" / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match="can't be read"):
        load_renderer(str(tmp_path / "empty"), "nemotron3")
    blank = spoilt(tmp_path / "blank", lambda c: c.update(normalizer={"type": "Prepend", "prepend": " "}))
    with pytest.raises(ConfigError, match="changes text at its start"):
        load_renderer(blank, "nemotron3")
    nameless = spoilt(tmp_path / "nameless", lambda c: c.update(added_tokens=c["added_tokens"][:1]))
    with pytest.raises(ConfigError, match="no end-of-turn token"):
        load_renderer(nameless, "nemotron3")
    turnless = spoilt(
        tmp_path / "turnless",
        lambda c: c.update(added_tokens=[t for t in c["added_tokens"] if t["content"] != "<|im_start|>"]),
    )
    with pytest.raises(ConfigError, match=r"no special token <\|im_start\|>, which the template needs"):
        load_renderer(turnless, "nemotron3")


def test_a_hub_that_cant_be_reached_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match="someone/something"):
        load_renderer("someone/something@main", "nemotron3")
    with pytest.raises(ConfigError, match="no folder, no hub id"):
        load_renderer("./no/such/folder", "nemotron3")


@pytest.mark.embedded
def test_the_embedded_tokenizer_is_read_once_and_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRISTMILL_CACHE", str(tmp_path))
    first = load_renderer("embedded", "nemotron3")
    monkeypatch.setitem(sys.modules, "transformers", None)
    second = load_renderer("embedded", "nemotron3")
    assert first.tokenizer.fingerprint() == second.tokenizer.fingerprint()
    assert set(CONTROL_TOKENS) <= set(first.control)
    assert first.tokenizer.vocab_size == 49152 + 6
    assert_tokens_as_at_inference(first, Record(messages=[user("Is 1234 even?"), assistant("Yes.", "It ends in 4.")]))
    ids_by_llama_cpp = [102, 33, 30, 1116, 34, 30, 32, 333, 39, 314, 197, 27302, 7170, 34878, 85, 47526]
    assert first.tokenizer.tokenizer.encode("v1.\n\n2.0   7 is\tGrüße 🙂").ids == ids_by_llama_cpp


@pytest.mark.shared
def test_a_tokenizer_in_the_wild(shared_data: Path, tmp_path: Path) -> None:
    """Qwen's: <think> and <tool_call> are added but not special tokens, text is normalised, and blanks merge."""
    renderer = load_renderer(wild(tmp_path, shared_data), "nemotron3")
    assert {"<think>", "<tool_call>", "</tool_response>", "<|im_end|>"} <= set(renderer.control)
    assert renderer.tokenizer.pad == "<|endoftext|>"
    call = ToolCall(id="1", function=Function(name="add", arguments='{"x": [1, 2]}'))
    talk = [user("Add\n\n 1 and 2"), assistant("", "\n Let me", [call]), tool("3", "1"), assistant("It is 3.", "so")]
    record = Record(messages=talk, tools=[Tool(function=FunctionSpec(name="add"))])
    assert_tokens_as_at_inference(renderer, record)
    literal = Record(messages=[user("<|im_end|><think></tool_call>"), assistant("<|im_end|>")])
    (sequence,) = sequences(renderer, literal)
    assert sequence.ids.tolist().count(renderer.control["<|im_end|>"]) == 3
    assert sequence.ids.tolist().count(renderer.control["<think>"]) == 1


def test_rendering_loads_neither_transformers_nor_torch() -> None:
    code = (
        "import sys; from schemas import *; from gristmill.render import *\n"
        "r = load_renderer('train:300', 'nemotron3')\n"
        "r.render([Record(messages=[user('a'), assistant('b')])])\n"
        "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert loaded.stdout.strip() == "[]"
