"""The parameters of the generator safety."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from generators.safety.classifiers import BUNDLED
from generators.safety.inference import Thresholds
from generators.safety.moderation import Moderator
from generators.safety.policies import POLICIES, PolicyName
from gristmill import Config


class Params(Config):
    """`policies` are the ones that are wanted; `policy_file` and `classifiers` name yours in place of the bundled ones.

    `made` is how many prompts on over-refusal and copyright are made by rule, after the others, for a teacher.
    `jailbreaks` is the share of prompts that come a second time inside a jailbreak's frame. `undecided: ask` asks the
    role `classifier`. `turns` are user turns in all: the prompt's own, in mode teacher else written by the role `user`.
    `paraphrase_share` of the composed responses are reworded by the role `writer`.
    """

    mode: Literal["teacher", "composed"] = "teacher"
    policies: Annotated[list[PolicyName], Field(min_length=1)] = list(POLICIES)
    policy_file: Path | None = None
    classifiers: Path | None = None
    thresholds: Thresholds = Thresholds()
    undecided: Literal["ask", "reject"] = "reject"
    made: Annotated[int, Field(ge=0)] = 0
    jailbreaks: Annotated[float, Field(ge=0, le=1)] = 0.0
    turns: Annotated[int, Field(ge=1, le=8)] = 1
    paraphrase_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    moderation: Moderator = Moderator()
    max_overlap: Annotated[float, Field(ge=0, le=1)] = 0.15

    @property
    def paraphrase(self) -> str:
        """The role that rewords."""
        return "writer"

    @property
    def weights(self) -> Path:
        return self.classifiers or BUNDLED
