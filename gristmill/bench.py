"""The bench: from the config's judges to judges that can be asked.

Here everything is checked that can be known before the first record: names, parameters, roles, the rules of panels,
and what a user should be warned of.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from gristmill import registry
from gristmill.api import Judge, RunJudge
from gristmill.config import validate
from gristmill.errors import ConfigError, did_you_mean
from gristmill.judging import Acceptance, NamedJudge, Panel
from gristmill.llm import Roles
from schemas.run_config import ACCEPT_RULE, JudgeConfig, RunConfig, Second

_FAMILIES = (
    "claude", "command", "deepseek", "gemini", "gemma", "glm", "gpt", "granite", "grok", "kimi", "llama", "minimax",
    "ministral", "mistral", "mixtral", "nemotron", "olmo", "phi", "qwen", "smollm",
)  # fmt: skip


def make_judges(config: RunConfig, roles: Roles, *, generating: bool = True) -> list[NamedJudge]:
    """The judges in order. A role that a judge asks and the config lacks is a config error now, not a failure later.

    `generating` says that the config's other roles write the records.
    """
    judges = [_named(entry, config, f"judges.{entry.name}") for entry in config.judges]
    asked = {roles[role].name for named in judges for role in named.roles()}
    asked |= {roles.embedder(role).name for named in judges for role in named.embedders()}
    writers = [roles[name] for name in config.models if name not in asked] if generating else []
    families = {model_family(writer.model): writer.model for writer in writers if not writer.is_embedded}
    return [
        replace(
            named,
            gate=named.gate and (entry.insist or not _on_embedded(named, roles)),
            warnings=(*_embedded(named, entry, roles), *_kin(named, roles, families), *_late(named, judges[:position])),
        )
        for position, (named, entry) in enumerate(zip(judges, config.judges, strict=True))
    ]


def make_run_judges(config: RunConfig) -> list[NamedJudge]:
    """The judges of whole runs alone, for an export: no model is needed, and so no key."""
    return [
        _named(entry, config, f"judges.{entry.name}")
        for entry in config.judges
        if not (entry.members or entry.roles)
        and issubclass(registry.load("judges", entry.judge or entry.name), RunJudge)
    ]


def _named(entry: JudgeConfig, config: RunConfig, where: str) -> NamedJudge:
    judge = _panel(entry, config, where) if entry.members or entry.roles else _judge(entry, where)
    scope = "run" if isinstance(judge, RunJudge) else "record"
    if entry.scope not in (None, scope):
        raise ConfigError(f"{where}.scope: this judge is asked once per {scope}; leave `scope` out.")
    named = NamedJudge(
        entry.name,
        judge,
        gate=entry.mode == "gate",
        retry=entry.on_undecided == "retry",
        if_undecided=_second(entry, "on_undecided", config, where),
        if_failed=_second(entry, "on_failed", config, where),
    )
    if named.retry and not any(judge.roles() for judge in named.all_judges()):
        raise ConfigError(f"{where}.on_undecided: this judge asks no model, so it says the same again.")
    if isinstance(judge, RunJudge) and (named.if_failed or named.if_undecided):
        raise ConfigError(f"{where}: a judge of whole runs can't be followed by a second one.")
    if any(isinstance(second, RunJudge) for second in named.all_judges() if second is not judge):
        raise ConfigError(f"{where}: a judge of whole runs stands alone; it can be no member and no second.")
    return named


def _panel(entry: JudgeConfig, config: RunConfig, where: str) -> Panel:
    shared = {**entry.params, "judge": entry.judge or entry.name}
    members = entry.members or [
        validate({**shared, "name": re.sub(r"[^\w-]", "-", role), "role": role}, JudgeConfig, where)
        for role in entry.roles
    ]
    if len(set(entry.roles)) < len(entry.roles):
        raise ConfigError(f"{where}.roles: a role is named twice; its model would vote twice.")
    named = [_named(member, config, f"{where}.{member.name}") for member in members]
    for member in named:
        if not member.gate:
            raise ConfigError(f"{where}.{member.name}.mode: every member of a panel counts; a shadow stands alone.")
    rule = ACCEPT_RULE.fullmatch(entry.accept)
    if rule and rule["of"] and not 1 <= int(rule["least"]) <= int(rule["of"]) == len(members):
        raise ConfigError(f"{where}.accept: {entry.accept} doesn't fit a panel of {len(members)} members.")
    cheap_first = sorted(named, key=lambda member: bool(member.roles()))
    return Panel(tuple(cheap_first), Acceptance(entry.accept, len(named)), entry.early_exit)


def _judge(entry: JudgeConfig, where: str) -> Judge[Any] | RunJudge[Any]:
    kind: type[Judge[Any] | RunJudge[Any]] = registry.load("judges", entry.judge or entry.name)
    known = kind.params_type.model_fields
    for key in entry.params:
        if key not in known:
            hint = did_you_mean(key, [*known, *JudgeConfig.model_fields])
            raise ConfigError(f"{where}: unknown key {key}.{hint}")
    return kind(validate(entry.params, kind.params_type, where))


def _second(entry: JudgeConfig, policy: str, config: RunConfig, where: str) -> NamedJudge | None:
    """Whom to ask where the verdict is undecided or failed: the same judge on another role, or another judge."""
    chosen = getattr(entry, policy)
    if not isinstance(chosen, Second):
        return None
    second, where = chosen.second, f"{where}.{policy}.second"
    if isinstance(second, JudgeConfig):
        return _named(second, config, where)
    if second in config.models:
        if entry.members or entry.roles:
            raise ConfigError(f"{where}: a panel has no single role; name a judge.")
        same = {**entry.params, "name": entry.name, "judge": entry.judge or entry.name, "role": second}
        return _named(validate(same, JudgeConfig, where), config, where)
    names = registry.names("judges")
    if second not in names:
        hint = did_you_mean(second, [*config.models, *names])
        raise ConfigError(f"{where}: {second!r} is neither a role of the models nor a judge.{hint}")
    return _named(validate({"name": second}, JudgeConfig, where), config, where)


def _on_embedded(named: NamedJudge, roles: Roles) -> bool:
    return any(roles[role].is_embedded for role in named.roles())


def _embedded(named: NamedJudge, entry: JudgeConfig, roles: Roles) -> Iterator[str]:
    if not named.gate or not _on_embedded(named, roles):
        return
    if entry.insist:
        yield f"the judge {named.name} gates on the embedded model, which judges no better than chance."
    else:
        yield f"the judge {named.name} asks the embedded model, so it is shadow: recorded, never obeyed."


def _kin(named: NamedJudge, roles: Roles, writers: dict[str, str]) -> Iterator[str]:
    """Models prefer answers that they could have given themselves (Panickssery et al. 2024, arXiv 2404.13076)."""
    for judging in sorted({roles[role].model for role in named.roles()}):
        writing = writers.get(model_family(judging))
        if writing:
            yield (
                f"the judge {named.name} asks {judging}, of one family with {writing}, which writes the records: "
                "such judges are too kind. Give its role a model of another family."
            )


def _late(named: NamedJudge, before: list[NamedJudge]) -> Iterator[str]:
    dear = next((earlier for earlier in before if earlier.gate and earlier.roles()), None)
    if dear and named.gate and not named.roles() and not isinstance(named.judge, RunJudge):
        yield f"the judge {named.name} asks no model; placed before {dear.name} it would save that one's calls."


def model_family(model: str) -> str:
    """The family that a model's name speaks of ("openai/gpt-oss-120b": gpt), else the name itself."""
    words = re.findall(r"[a-z]+", model.rsplit("/", 1)[-1].lower())
    return next((family for word in words for family in _FAMILIES if word.startswith(family)), model.lower())
