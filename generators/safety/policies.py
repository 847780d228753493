"""Response policies and crisis lines as data (policies.yaml); a config may name a file of its own.

policies = load_policies()
policies["refuse_briefly"].required    ["refusal", "reason", "offer"]
"""

from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

import yaml
from pydantic import ValidationError

from gristmill import Config
from gristmill.errors import ConfigError

PolicyName = Literal[
    "supportive_resources", "refuse_briefly", "answer_benign_part", "answer_helpfully", "balanced_neutral",
    "summarise_without_reproduction", "ignore_injection",
]  # fmt: skip
POLICIES: tuple[PolicyName, ...] = get_args(PolicyName)
BUNDLED = Path(__file__).parent / "policies.yaml"

Element = Literal[
    "refusal", "reason", "offer", "care", "resource", "help", "declined_part", "evenness", "no_text", "mention",
    "means", "recital", "lecture", "group_verdict", "overlap", "canary",
]  # fmt: skip


class Policy(Config):
    """`words` are the least and the most that a response may have."""

    when: str
    how: str
    required: list[Element]
    forbidden: list[Element]
    words: tuple[int, int]


class Resource(Config):
    name: str
    how: str
    sign: str
    emergency: str


class Policies(Config):
    policies: dict[PolicyName, Policy]
    resources: dict[str, Resource]

    def resource(self, locale: str) -> Resource:
        """That of the locale, else of its language's first locale, else the international one."""
        language = locale.partition("-")[0]
        same = [known for known in self.resources if known.startswith(f"{language}-") and language != "en"]
        return self.resources.get(locale) or self.resources[same[0] if same else "other"]


@lru_cache(maxsize=4)
def load_policies(file: Path | None = None) -> Policies:
    """ConfigError, saying what is wrong, for a file that isn't one."""
    path = file or BUNDLED
    try:
        found = Policies.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise ConfigError(f"params.policies: {path} can't be used: {error}.") from None
    missing = [name for name in POLICIES if name not in found.policies]
    if missing or "other" not in found.resources:
        raise ConfigError(f"params.policies: {path} lacks {', '.join(missing) or 'resources.other'}.")
    return found
