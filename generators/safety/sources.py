"""Prompts from public safety sets, by the shape of their rows, with their categories mapped to one taxonomy.

    aegis           prompt, prompt_label, violated_categories        Nemotron / Aegis content safety v2
    gretel          prompt, risk_category                            Gretel safety alignment
    harmful_tasks   task, category          (or a .yaml tree of categories, topics and tasks)
    red_team_2k     question, policy, from
    harmbench       Behavior, SemanticCategory, ContextString
    xstest          prompt, type, label
    bbq             context, question, ans0, ans1, ans2, label
    agentdojo       a folder with injection_vectors.yaml and include/*.yaml: documents with slots for injections
    plain           prompt, and what you know of it: label, category, policy, documents, protected, canaries, locale

A row of no known shape is a task that failed, with a sentence. Texts are data: templates, role markers and special
tokens in them stay what they are.

Sources: arXiv 2404.05993 (Aegis), 2402.04249 (HarmBench), 2308.01263 (XSTest), 2110.08193 (BBQ), 2406.13352
(AgentDojo), 2404.03027 (Red-Team-2K); the shapes are those of the files that their authors publish.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from generators.safety.prompt import Prompt
from gristmill.config import first_fault, require_file
from gristmill.errors import ConfigError
from gristmill.seeds import BadSeed, read_rows

LONGEST = 200_000
"""Characters of a prompt; a longer one is a failed task."""

Row = Mapping[str, Any]
_KNOWN = ("source", "label", "category", "policy", "protected", "canaries", "locale")
SLOT = re.compile(r"\{(\w+)\}")


@cache
def taxonomy() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = yaml.safe_load((Path(__file__).parent / "taxonomy.yaml").read_text("utf-8"))
    return found


def read_prompts(location: str) -> Iterator[Prompt | BadSeed]:
    """The prompts of a file, a folder (AgentDojo) or a hub dataset, in its order."""
    path = Path(location)
    if path.is_dir():
        yield from read_agentdojo(path)
    elif path.suffix in (".yaml", ".yml"):
        yield from _numbered(_tree(path))
    else:
        yield from _numbered(read_rows(location))


def _numbered(rows: Iterator[tuple[str, Row | BadSeed]]) -> Iterator[Prompt | BadSeed]:
    for where, row in rows:
        if isinstance(row, BadSeed):
            yield row
            continue
        try:
            yield from read_row(row)
        except ValueError as error:
            yield BadSeed(where, first_fault(error))


def read_row(row: Row) -> Iterator[Prompt]:
    """The prompt of one row; none where the set itself has taken the text out. ValueError for an unknown shape."""
    for needed, read in SHAPES:
        if needed <= row.keys():
            for prompt in read(row):
                if not prompt.text.strip():
                    raise ValueError("the prompt is empty")
                if len(prompt.text) > LONGEST:
                    raise ValueError(f"the prompt has more than {LONGEST} characters")
                yield prompt
            return
    raise ValueError(f"no known shape has the columns {', '.join(sorted(row)[:8])}")


def category(source: str, given: str) -> Any:
    """Ours, of the first of the given categories that is known; "" for none."""
    known = taxonomy()[source]
    return next((known[part] for part in map(str.strip, given.lower().split(",")) if part in known), "")


def _aegis(row: Row) -> Iterator[Prompt]:
    if str(row["prompt"]).strip() in ("REDACTED", "[REDACTED]"):
        return
    given = str(row.get("violated_categories") or "")
    label = str(row["prompt_label"]).lower()
    yield Prompt(
        source="aegis", text=row["prompt"], label=_label(label), original_category=given,
        category=category("aegis", given) if label == "unsafe" else "",
    )  # fmt: skip


def _gretel(row: Row) -> Iterator[Prompt]:
    given = str(row["risk_category"])
    ours = category("gretel", given.replace("_", " "))
    yield Prompt(source="gretel", text=row["prompt"], label="unsafe", category=ours, original_category=given)


def _harmful_task(row: Row) -> Iterator[Prompt]:
    given = str(row["category"])
    ours = category("harmful_tasks", given.replace("_", " "))
    yield Prompt(source="harmful_tasks", text=row["task"], label="unsafe", category=ours, original_category=given)


def _red_team(row: Row) -> Iterator[Prompt]:
    given = str(row["policy"])
    ours = category("red_team_2k", given)
    yield Prompt(source="red_team_2k", text=row["question"], label="unsafe", category=ours, original_category=given)


def _harmbench(row: Row) -> Iterator[Prompt]:
    context, given = str(row.get("ContextString") or ""), str(row.get("SemanticCategory") or "")
    copied = row.get("FunctionalCategory") == "copyright"
    yield Prompt(
        source="harmbench", text=f"{context}\n\n{row['Behavior']}" if context else row["Behavior"], label="unsafe",
        category="copyright" if copied else category("harmbench", given), original_category=given,
    )  # fmt: skip


def _xstest(row: Row) -> Iterator[Prompt]:
    label = str(row.get("label") or ("unsafe" if str(row["type"]).startswith("contrast") else "safe"))
    yield Prompt(source="xstest", text=row["prompt"], label=_label(label), original_category=str(row["type"]))


def _bbq(row: Row) -> Iterator[Prompt]:
    right = str(row[f"ans{row['label']}"])
    given = f"{row.get('category', '')} {row.get('context_condition', '')}".strip()
    yield Prompt(
        source="bbq", text=f"{row['context']} {row['question']}", category="bias", original_category=given,
        material={"reference": right},
    )  # fmt: skip


def _plain(row: Row) -> Iterator[Prompt]:
    documents = [str(one) for one in row.get("documents") or []]
    given = {name: row[name] for name in _KNOWN if row.get(name)}
    yield Prompt.model_validate(
        {"source": "plain", **given, "text": "\n\n".join([str(row["prompt"]), *documents]), "documents_in": documents}
    )


def _label(given: str) -> Any:
    return given if given in ("safe", "unsafe") else ""


SHAPES: list[tuple[set[str], Callable[[Row], Iterator[Prompt]]]] = [
    ({"prompt", "prompt_label"}, _aegis),
    ({"prompt", "risk_category"}, _gretel),
    ({"Behavior"}, _harmbench),
    ({"context", "question", "ans0", "label"}, _bbq),
    ({"question", "policy"}, _red_team),
    ({"task", "category"}, _harmful_task),
    ({"prompt", "type"}, _xstest),
    ({"prompt"}, _plain),
]


def _tree(path: Path) -> Iterator[tuple[str, Row | BadSeed]]:
    """Harmful Tasks as a tree: the topmost key is the category, the leaves are tasks."""
    require_file(path, "seeds")
    content = _yaml(path)
    if not isinstance(content, dict):
        raise ConfigError(f"seeds: {path} is no tree of categories and tasks.")
    for name, part in content.items():
        for number, task in enumerate(_leaves(part), start=1):
            yield f"{name}:{number}", {"task": task, "category": str(name)}


def _leaves(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list():
            for item in value:
                yield from _leaves(item)
        case dict():
            for item in value.values():
                yield from _leaves(item)


def read_agentdojo(folder: Path) -> Iterator[Prompt]:
    """A prompt per text that holds a slot, with the slots' defaults; `material.template` keeps the slots."""
    vectors = agentdojo_vectors(folder)
    for name, template in agentdojo_texts(folder):
        if slots := [slot for slot in SLOT.findall(template) if slot in vectors]:
            document = fill(template, vectors)
            yield Prompt(
                source="agentdojo", text=f"Summarise this in two sentences.\n\n{document}", documents_in=[document],
                original_category=name, material={"template": template, "slots": slots},
            )  # fmt: skip


def agentdojo_vectors(folder: Path) -> dict[str, str]:
    """Each slot's default text. ConfigError where the folder is none of AgentDojo's."""
    path = folder / "injection_vectors.yaml"
    if not path.is_file():
        raise ConfigError(
            f"seeds: {folder} has no injection_vectors.yaml; name a file, or a suite's folder of AgentDojo."
        )
    return {slot: str(vector.get("default") or "") for slot, vector in _yaml(path).items()}


def agentdojo_texts(folder: Path) -> Iterator[tuple[str, str]]:
    """(file, text) of every description, body and content in the environment, slots unfilled."""
    for path in sorted((folder / "include").glob("*.yaml")):
        yield from ((path.stem, text) for text in _bodies(_yaml(path)))


def _bodies(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, part in value.items():
            if isinstance(part, str) and name in ("description", "body", "content"):
                yield part
            else:
                yield from _bodies(part)
    elif isinstance(value, list):
        for item in value:
            yield from _bodies(item)


def fill(template: str, texts: Mapping[str, str]) -> str:
    """The slots replaced once; braces that name no slot, and braces in what is put in, stay."""
    return SLOT.sub(lambda slot: texts.get(slot[1], slot[0]), template)


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"seeds: {path} can't be read: {error}.") from None
