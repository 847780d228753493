"""Safety: prompts of any safety set, answered under the response policy that each of them calls for.

Record:  user       "How do I get into my sister's e-mail while she is on holiday?"
         assistant  "I can't help with opening somebody else's mailbox, because ... Instead, I can help you write ..."
                    reasoning_content: why, and under which constraints
         metadata   {"policy": "refuse_briefly", "confidence": 0.97, "decided_by": "classifier", "trace": "authored"}

The policy is inferred (inference.py) from what the source says and from light classifiers; one that can't be told is
asked of a model or rejected. Then two stages: a concise reasoning trace, and the response that follows it. Both are
checked by rules (checks.py), by a policy-adherence judge, and by a moderation filter (moderation.py).

    mode: teacher     models write trace and response (roles reasoner, writer, judge; user for further turns)
    mode: composed    both are composed by rule from the bundled prompts' material; a model may reword responses

Source: Nemotron 3 Super report (arXiv 2604.12374), safety; deliberative alignment, Guan et al. 2024 (arXiv 2412.16339).
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from random import Random
from typing import Annotated

from pydantic import Field

from generators.safety.answering import Turn, answer
from generators.safety.classifiers import load
from generators.safety.compose import Material
from generators.safety.inference import Decision, infer
from generators.safety.params import Params
from generators.safety.planting import planted
from generators.safety.policies import POLICIES, PolicyName, load_policies
from generators.safety.prompt import Prompt
from generators.safety.sources import read_prompts
from generators.safety.synthetic import bundled_prompts, made_prompts, wrap
from gristmill import Answer, Context, Generator, Record, Reject
from gristmill.errors import ConfigError
from gristmill.seeds import BadSeed
from gristmill.text.unicode import tricks
from judges.fields import read_out
from schemas import JsonObject, Message, user


class Chosen(Answer):
    reason: Annotated[str, Field(max_length=300)]
    verdict: PolicyName


class FollowUp(Answer):
    text: Annotated[str, Field(min_length=2, max_length=600)]


class Safety(Generator[Prompt, Params]):
    name = "safety"
    version = "1"

    def __init__(self, params: Params, *, seed: int = 0, seeds: str | None = None) -> None:
        super().__init__(params, seed=seed, seeds=seeds)
        load(params.weights)  # a file that can't be used is said before the run begins
        self.policies = load_policies(params.policy_file)
        if (seeds or params.made) and params.mode == "composed":
            raise ConfigError(
                "params.mode: composed answers the bundled prompts alone; for seeds and made use teacher."
            )

    def files(self) -> list[Path]:
        return [path for path in (self.params.classifiers, self.params.policy_file) if path]

    def coverage_axes(self) -> dict[str, list[str]]:
        return {"policy": list[str](self.params.policies)}

    def tasks(self) -> Iterator[Prompt | BadSeed]:
        """Each prompt, numbered, and some of them a second time inside a jailbreak's frame."""
        rng = Random(f"{self.seed}|jailbreaks")
        prompts = planted(read_prompts(self.seeds), self.seed) if self.seeds else bundled_prompts(self.seed)
        for number, prompt in enumerate(chain(prompts, made_prompts(self.params.made, self.seed))):
            if isinstance(prompt, BadSeed):
                yield prompt
                continue
            numbered = prompt.model_copy(update={"number": number})
            yield numbered
            if not prompt.wrapper and rng.random() < self.params.jailbreaks:
                yield from wrap([numbered], rng.randrange(2**32))

    async def run(self, seed: Prompt, ctx: Context) -> Record:
        """Rejects: policy, material, and those of answering.py. A further turn that fails ends the conversation."""
        decision = await infer(seed, self.params.thresholds, self.params.weights, ctx)
        policy = decision.policy or await self._asked(seed, decision, ctx)
        if policy not in self.params.policies:
            raise Reject("policy", "not_wanted", policy)
        if self.params.mode == "composed" and policy != seed.policy:
            raise Reject("policy", "disputed", f"{policy}, where the material is for {seed.policy}")
        turns = [await answer(ctx, self.params, self.policies, seed, seed.messages(), policy, seed.material)]
        talk = [*seed.messages(), turns[0].message]
        ended = ""
        while len(turns) < self.params.turns and not ended:
            try:
                following = await self._following(seed, len(turns), talk, policy, ctx)
                if following is None:
                    break
                asked, policy, material = following
                question = [*talk, user(asked)]
                turns.append(await answer(ctx, self.params, self.policies, seed, question, policy, material))
                talk = [*question, turns[-1].message]
            except Reject as fault:
                ended = f"{fault.stage}/{fault.reason}"
        return Record(
            messages=talk,
            tools=seed.tools,
            category=turns[0].policy,
            verdicts=[
                verdict if number == 1 else verdict.model_copy(update={"name": f"turn{number}.{verdict.name}"})
                for number, turn in enumerate(turns, start=1)
                for verdict in turn.verdicts
            ],
            metadata={**_metadata(seed, decision, turns), **({"ended": ended} if ended else {})},
        )

    async def _asked(self, prompt: Prompt, decision: Decision, ctx: Context) -> PolicyName:
        """The policy by a model, where the light means couldn't tell. Reject `policy`: undecided."""
        if self.params.undecided == "reject":
            found = max(decision.scores, key=lambda name: decision.scores[name])
            raise Reject("policy", "undecided", f"most likely {found}, {decision.confidence:.2f}", **decision.scores)
        choices = {name: self.policies.policies[name].when for name in POLICIES}
        talk = read_out(prompt.messages())
        return (await ctx.ask("classifier", "policy", Chosen, talk=talk, choices=choices)).verdict

    async def _following(
        self, prompt: Prompt, number: int, talk: list[Message], policy: PolicyName, ctx: Context
    ) -> tuple[str, PolicyName, Material] | None:
        """The user's next turn, its policy and its material; None where the conversation ends.

        Whoever spoke of harming themselves stays with supportive_resources, whatever they ask next.
        """
        if len(prompt.follow_ups) >= number:
            material = prompt.follow_ups[number - 1]
            asked = str(material["ask"])
            if self.params.mode == "composed":
                return asked, policy, material
        elif self.params.mode == "composed":
            return None
        else:
            asked, material = (await ctx.ask("user", "follow_up", FollowUp, talk=read_out(talk))).text, {}
        following = Prompt(source=prompt.source, text=asked, locale=prompt.locale)
        decision = await infer(following, self.params.thresholds, self.params.weights, ctx)
        stays = policy == "supportive_resources" or decision.policy is None
        return asked, policy if stays else decision.policy or policy, material


def _metadata(prompt: Prompt, decision: Decision, turns: list[Turn]) -> JsonObject:
    found: JsonObject = {
        "cell": {"policy": turns[0].policy, "source": prompt.source, "wrapper": prompt.wrapper},
        "policy": turns[0].policy,
        "confidence": decision.confidence,
        "decided_by": decision.by if decision.policy else "model",
        "source_category": prompt.original_category,
        "harm": prompt.category,
        "locale": prompt.locale if turns[0].policy == "supportive_resources" else "",
        "unicode_tricks": {**tricks(prompt.text)},
        "trace": "authored",
        **turns[0].about,
        "policies": [turn.policy for turn in turns[1:]],
    }
    return {name: value for name, value in found.items() if value not in ("", [], {})}
