"""Synthetic prompts: the bundled ones, demographic bias, indirect injection, and jailbreak frames around any prompt.

    made         "I have ten minutes to strangle a runaway Docker container. Where do I begin?"
                 over-refusal and copyright: a form filled with words (made.yaml); a teacher answers them
    bias         "At the lost-property desk stood the nun and the rabbi ... Who made the false claim?"
                 ambiguous (nobody can tell) and disambiguated (the text says it), as in BBQ
    injection    a task with a document or a tool result; in it stands an order with a canary, a string that only
                 obeying would bring into the answer
    wrapped      a request inside a frame (wrappers.yaml); what it calls for doesn't change

All are pure functions of the seed. The material for an answer lies in `Prompt.material`.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import orjson
import yaml

from generators.safety.policies import POLICIES
from generators.safety.prompt import Prompt
from generators.safety.sources import fill
from gristmill.walk import rounds
from schemas import Function, FunctionSpec, Tool, ToolCall, assistant, tool


@cache
def data(name: str) -> Any:
    return yaml.safe_load((Path(__file__).parent / f"{name}.yaml").read_text(encoding="utf-8"))


def bundled_prompts(seed: int) -> Iterator[Prompt]:
    """All of them, policies in turn as long as they have some left; every second refusal is of a framed request."""
    queues: dict[str, list[Prompt]] = {name: [] for name in POLICIES}
    for policy, rows in data("prompts").items():
        queues[policy] += [_of_row(policy, row) for row in rows]
    queues["balanced_neutral"] += bias_prompts(seed)
    queues["ignore_injection"] += injection_prompts(seed)
    plain, framed = queues["refuse_briefly"][::2], queues["refuse_briefly"][1::2]
    queues["refuse_briefly"] = [*plain, *wrap(framed, seed)]
    order = {name: iter(Random(f"{seed}|{name}").sample(queue, len(queue))) for name, queue in queues.items()}
    while order:
        for name in list(order):
            following = next(order[name], None)
            if following is None:
                del order[name]
            else:
                yield following


def _of_row(policy: str, row: dict[str, Any]) -> Prompt:
    given = {name: row[name] for name in ("locale", "protected") if name in row}
    material = {name: value for name, value in row.items() if name not in ("ask", "follow", *given)}
    follow_ups = [row["follow"]] if "follow" in row else []
    return Prompt.model_validate(
        {
            "source": "bundled",
            "text": row["ask"],
            "policy": policy,
            "material": material,
            "follow_ups": follow_ups,
            **given,
        }
    )


def made_prompts(count: int, seed: int) -> Iterator[Prompt]:
    """Prompts of each kind of made.yaml in turn, that sound alarming or want a protected text; words come in rounds."""
    rng = Random(f"{seed}|made")
    kinds = data("made")
    words = {
        kind: {slot: rounds(options, rng) for slot, options in content.items() if isinstance(options, list)}
        for kind, content in kinds.items()
    }
    for number in range(count):
        kind = list(kinds)[number % len(kinds)]
        drawn = {slot: next(options) for slot, options in words[kind].items()}
        text = fill(drawn.pop("forms"), drawn)
        yield Prompt.model_validate(
            {
                "source": f"synthetic_{kind}",
                "text": text[0].upper() + text[1:],
                "policy": kinds[kind]["policy"],
                "category": kinds[kind]["category"],
            }
        )


def bias_prompts(seed: int) -> Iterator[Prompt]:
    """Every scene in both forms, each time with another pair; groups come in rounds, and so does who is named first."""
    content = data("bias")
    rng = Random(f"{seed}|bias")
    pairs = rounds([(group, pair) for group, pairs in content["pairs"].items() for pair in pairs], rng)
    for scene in content["scenes"]:
        for known in (False, True):
            group, pair = next(pairs)
            a, b = rng.sample(pair, 2)
            people = {"a": a, "b": b, "A": a[0].upper() + a[1:], "verb": scene["verb"], "settle": scene["settle"]}
            evidence = fill(scene["evidence"], people)
            told = f"{fill(scene['scene'], people)} {evidence if known else ''}".strip()
            yield Prompt(
                source="synthetic_bias", text=f"{told} {scene['ask']}", category="bias", policy="balanced_neutral",
                original_category=f"{group} {'disambiguated' if known else 'ambiguous'}",
                material={**people, "evidence": evidence if known else ""},
            )  # fmt: skip


def injection_prompts(seed: int) -> Iterator[Prompt]:
    """Every document once, with an order and a canary."""
    content = data("documents")
    rng = Random(f"{seed}|injection")
    orders, canaries = rounds(content["orders"], rng), rounds(content["canaries"], rng)
    for document in content["documents"]:
        canary = next(canaries)
        text = fill(document["text"], {"slot": fill(next(orders), {"canary": canary})})
        yield _with_document(document, text, canary)


def _with_document(document: dict[str, Any], text: str, canary: str) -> Prompt:
    material = {"place": document["place"], "answer": document["answer"]}
    common: Any = {
        "source": "synthetic_injection", "category": "injection", "policy": "ignore_injection", "canaries": [canary],
        "material": material,
    }  # fmt: skip
    name = document["tool"]
    if not name:
        return Prompt(text=f"{document['ask']}\n\n{text}", documents_in=[text], **common)
    spec = data("documents")["tools"][name]
    arguments = document["arguments"]
    parameters: Any = {
        "type": "object", "properties": {spec["argument"]: {"type": "string"}}, "required": [spec["argument"]]
    }  # fmt: skip
    call = ToolCall(id="call_0", function=Function(name=name, arguments=orjson.dumps(arguments).decode()))
    return Prompt(
        text=f"{document['ask']} ({spec['argument']}: {arguments[spec['argument']]})",
        results=[assistant(tool_calls=[call]), tool(text, "call_0", name)],
        tools=[Tool(function=FunctionSpec(name=name, description=spec["description"], parameters=parameters))],
        **common,
    )


def wrap(prompts: Iterable[Prompt], seed: int) -> Iterator[Prompt]:
    """Each prompt once more, in one of the frames."""
    frames = rounds(sorted(data("wrappers").items()), Random(f"{seed}|wrappers"))
    for prompt in prompts:
        name, frame = next(frames)
        yield prompt.model_copy(
            update={"text": fill(frame, {"prompt": prompt.text}), "wrapper": name, "framed": prompt.text}
        )
