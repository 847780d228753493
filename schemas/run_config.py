"""The config of `gristmill generate`, `preview` and `judge`."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from schemas.base import Config, JsonObject

EMBEDDED = "embedded"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

ACCEPT_RULE = re.compile(r"all|mean >= (?P<mean>-?\d+(\.\d+)?)|at_least (?P<least>\d+) of (?P<of>\d+)")
"""How a panel accepts: every member passes, the mean score is high enough, or enough of them pass."""

Positive = Annotated[int, Field(gt=0)]
Dollars = Annotated[float, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0)]


def _is_url(text: str) -> bool:
    """Whether a request can be sent there: with a host, and a port that there is."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and " " not in text
    except ValueError:
        return False


class Price(Config):
    """USD per million tokens; cached input counts as input unless it has a price of its own."""

    input: Dollars = 0.0  # USD
    output: Dollars = 0.0  # USD
    cached: Dollars | None = None  # USD


class RetryLonger(Config):
    max_tokens: Positive  # of the second try


class ModelConfig(Config):
    """A model role: where it is served, how it samples, what it costs.

    `tool_calls: text` is for endpoints that know none: calls are written and read as lines of text. The embedded model
    is always asked so.
    """

    endpoint: str | Annotated[list[str], Field(min_length=1)]  # `embedded`, a URL, or several to share the load
    model: str = ""  # the name under which the endpoint serves it
    api_key_env: str | None = None  # the environment variable that holds the key
    temperature: Annotated[float, Field(ge=0)] | None = None  # of sampling; what isn't set is the endpoint's choice
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None  # as in the OpenAI API
    top_k: int | None = None  # not every endpoint knows it
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None  # not every endpoint knows it
    seed: int | None = None  # sent with each request
    stop: list[str] | None = None  # texts that end an answer
    max_tokens: Positive | None = None  # of an answer, its reasoning included
    reasoning_effort: str | None = None  # sent verbatim, such as low, medium, high
    tool_calls: Literal["native", "text"] = "native"
    extra_body: JsonObject = {}  # sent verbatim with each request
    retry_longer: RetryLonger | None = None  # one more try for a truncated answer
    repairs: Annotated[int, Field(ge=0)] = 3  # further tries where JSON was asked and none came
    max_in_flight: Positive = 64  # calls at once
    timeout: Seconds = 3600.0  # seconds for a whole call
    idle_timeout: Seconds = 120.0  # seconds of silence within a stream
    stream: bool | Literal["auto"] = "auto"  # auto: where a call may be long
    price: Price = Price()  # what cost and budget are reckoned with
    output_license: str = ""  # the license of what the model writes

    @property
    def endpoints(self) -> list[str]:
        return [self.endpoint] if isinstance(self.endpoint, str) else self.endpoint

    @model_validator(mode="after")
    def _sound(self) -> Self:
        for endpoint in self.endpoints:
            if "@" in endpoint:  # and not repeated here: a message may end up in a log
                raise ValueError("an endpoint holds no user or password: name the variable of a key in `api_key_env`")
            if endpoint != EMBEDDED and not _is_url(endpoint):
                raise ValueError(f"endpoint is `embedded` or a URL with http:// or https://, not {endpoint!r}")
        if self.api_key_env is not None and not _VARIABLE.fullmatch(self.api_key_env):
            raise ValueError("api_key_env names an environment variable, such as MY_KEY; the key itself stays out")
        if not self.model and any(endpoint != EMBEDDED for endpoint in self.endpoints):
            raise ValueError("`model` is missing: the name under which the endpoint serves it")
        return self


class JudgeConfig(Config):
    """A judge or a panel of judges; keys that aren't listed here are the judge's own parameters.

        {name: rubric, min_score: 3}                                    the judge that is registered as rubric
        {name: sql_quality, judge: rubric, rubric: text_to_sql/sql}     the same under another name
        {name: rubric, roles: [qwen, llama, gpt], accept: mean >= 3}    one judge, several models
        {name: quality, members: [{name: rubric}, {name: answerable}], accept: {at_least: 1 of 2}}

    A gate decides, a shadow is recorded only. A judge that asks the embedded model is shadow unless `insist` is set.
    `on_undecided` and `on_failed` say what happens before a record is lost: nothing (`reject`), the same question once
    more (`retry`), or another judge or another role's model (`{second: NAME}`), whose verdict then counts.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]  # of the verdict
    judge: str = ""  # the registered judge, where it isn't `name`
    mode: Literal["gate", "shadow"] = "gate"  # whether it decides
    scope: Literal["record", "run"] | None = None  # follows from the judge; checked where given
    insist: bool = False
    roles: list[str] = []  # a panel: one judge asks each of these models
    members: list["JudgeConfig"] = []  # a panel of different judges
    accept: str = "all"  # how a panel accepts: `all`, `mean >= 3`, `{at_least: 2 of 3}`
    early_exit: bool = True  # whether a panel stops when its verdict is certain
    on_undecided: "Literal['reject', 'retry'] | Second" = "reject"
    on_failed: "Literal['reject'] | Second" = "reject"

    @property
    def params(self) -> dict[str, Any]:
        return dict(self.model_extra or {})

    @field_validator("accept", mode="before")
    @classmethod
    def _rule(cls, value: object) -> object:
        """One spelling for each rule: `all`, `mean >= 3`, `at_least 2 of 3`."""
        if isinstance(value, dict) and list(value) == ["at_least"]:
            value = f"at_least {value['at_least']}"
        if not isinstance(value, str) or not ACCEPT_RULE.fullmatch(value):
            raise ValueError("expected `all`, `mean >= 3` or `{at_least: 2 of 3}`")
        return value

    @field_validator("on_undecided", "on_failed", mode="before")
    @classmethod
    def _policy(cls, value: object, info: ValidationInfo) -> object:
        known = ["reject", "retry"] if info.field_name == "on_undecided" else ["reject"]
        if isinstance(value, dict | Second) or value in known:
            return value
        raise ValueError(f"expected {', '.join(known)} or {{second: a judge, or a role of the models}}")

    @model_validator(mode="after")
    def _panel(self) -> Self:
        if self.members and (self.roles or self.judge or self.model_extra):
            raise ValueError("a panel's parameters belong to its members; beside `members` there can be none")
        if not self.members and not self.roles and {"accept", "early_exit"} & self.model_fields_set:
            raise ValueError("`accept` and `early_exit` are for panels: they need `members` or `roles`")
        _distinct([member.name for member in self.members])
        return self


class Second(Config):
    """Whom to ask next: a role of the models (the same judge asks it), a judge by name, or a judge in full."""

    second: str | JudgeConfig  # a role, a judge's name, or a judge


JudgeConfig.model_rebuild()


def _distinct(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two judges are named {name}; give one another name: `{{name: ..., judge: {name}}}`")


class Budget(Config):
    """What a run may spend in all its sessions together; it stops cleanly before either is exceeded."""

    usd: Dollars | None = None  # in US dollars
    tokens: Positive | None = None  # input and output together


class QuotaConfig(Config):
    """`by` names fields of the generator's seeds, dotted where nested: their values are mixed among the records as they
    are among the tasks."""

    by: list[str] = []


class ExecutorConfig(Config):
    """Where tasks run: in this process (`local`), or in `workers` processes of a Ray cluster (`ray`).

    `address` is `local` (a cluster that the run starts and stops), `auto` (the one that this machine is part of) or
    HOST:PORT.
    """

    kind: Literal["local", "ray"] = "local"  # one process, or many
    address: Annotated[str, Field(pattern=r"^(local|auto|[^/\s]+:\d+)$")] = "local"
    workers: Positive = 2

    @model_validator(mode="after")
    def _only_of_ray(self) -> Self:
        if self.kind == "local" and self.model_fields_set & {"address", "workers"}:
            raise ValueError("`address` and `workers` are for `kind: ray`")
        return self


class RunConfig(Config):
    """`samples` wants that many records; `tasks` takes that many tasks; with neither, all tasks run. `ledger` is a file
    of replies that several runs share."""

    generator: str  # as `gristmill list` names it
    samples: Positive | None = None
    max_tasks: Positive | None = None  # the most candidates for `samples`
    tasks: Positive | None = None
    seed: int = 0  # of everything that is left to chance
    models: dict[str, ModelConfig] = {}  # by role; one that is missing is `default`
    seeds: str | None = None  # .jsonl, .parquet, .csv or hf://NAME@REVISION
    params: dict[str, Any] = {}  # the generator's own, below
    judges: list[JudgeConfig] = []  # from cheap to dear
    quota: QuotaConfig = QuotaConfig()  # how `samples` are divided
    budget: Budget = Budget()  # for all sessions together
    ledger: str | None = None
    executor: ExecutorConfig = ExecutorConfig()  # where tasks run
    max_failed: Annotated[float, Field(ge=0, le=1)] = 0.0  # the share of tasks that may fail; beyond it exit status 5
    patience: Seconds = 600.0  # seconds to wait for an endpoint that is gone
    license: str = ""  # of the records

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.tasks is not None and (self.samples is not None or self.max_tasks is not None):
            raise ValueError("either `samples` (with `max_tasks`, if wanted) or `tasks`, not both")
        _distinct([judge.name for judge in self.judges])
        if self.quota.by and self.samples is None:
            raise ValueError("`quota` divides `samples`: say how many records are wanted")
        return self


def seeds_file(seeds: str | None) -> Path | None:
    """The local file that `seeds` names, or None."""
    return None if seeds is None or seeds.startswith("hf://") else Path(seeds)
