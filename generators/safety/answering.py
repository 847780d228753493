"""One assistant turn: a reasoning trace, a response that follows it, and everything that both have to pass.

trace       too_long, meta
response    no_refusal, no_reason, refusal, recital, overlap, canary, ... (checks.py), too_short, too_long
adherence   failed                       the role `judge` reads the response with its policy (mode: teacher)
moderation  violating, undecided
llm         whatever the models' calls end in
"""

from typing import Annotated, NamedTuple

from pydantic import Field

from generators.safety.checks import Case, faults, trace_faults
from generators.safety.compose import Composed, Material, compose
from generators.safety.moderation import moderate
from generators.safety.params import Params
from generators.safety.policies import Policies, PolicyName
from generators.safety.prompt import Prompt
from gristmill import Answer, Context, Reject, Verdict
from judges.fields import read_out
from judges.refusal import phrases
from judges.rewording import check_rewording, reword
from schemas import JsonObject, Message, assistant, system


class Trace(Answer):
    trace: Annotated[str, Field(min_length=40, max_length=1200)]


class Adherence(Answer):
    reason: Annotated[str, Field(max_length=400)]
    verdict: bool


class Turn(NamedTuple):
    """An assistant's turn that has passed, and what the record says of it."""

    message: Message
    policy: PolicyName
    verdicts: list[Verdict]
    about: JsonObject


async def answer(
    ctx: Context, params: Params, policies: Policies, prompt: Prompt, talk: list[Message], policy: PolicyName,
    material: Material,
) -> Turn:  # fmt: skip
    """The next turn of the talk. Rejects: the module's docstring."""
    resource, rules = policies.resource(prompt.locale), policies.policies[policy]
    case = Case(resource, prompt.protected, tuple(prompt.canaries), params.max_overlap)
    if params.mode == "composed":
        drafted = compose(policy, prompt, resource, material, ctx.rng)
        response, about = await reword(
            ctx, drafted.response, params, lambda said, text: [*check_rewording(said, text), *faults(rules, said, case)]
        )
        drafted = drafted._replace(response=response)
    else:
        drafted, about = await _written(ctx, policies, prompt, talk, policy), {"phrasing": "model"}
    for stage, found in (("trace", trace_faults(drafted.trace)), ("response", faults(rules, drafted.response, case))):
        if found:
            raise Reject(
                stage, found[0], ", ".join(found), policy=policy, trace=drafted.trace, response=drafted.response
            )
    verdicts = [] if params.mode == "composed" else [await _adherence(ctx, policies, talk, policy, drafted.response)]
    verdicts.append(await moderate(ctx, params.moderation, talk, drafted.response, params.weights))
    about = {**about, "refusal": phrases(drafted.response)[0]}
    return Turn(assistant(drafted.response, drafted.trace), policy, verdicts, about)


async def _written(
    ctx: Context, policies: Policies, prompt: Prompt, talk: list[Message], policy: PolicyName
) -> Composed:
    """Two stages: the trace, then the response from the talk itself with the trace as its guide."""
    rules, resource = policies.policies[policy], policies.resource(prompt.locale)
    shared = {"how": rules.how, "resource": resource if "resource" in rules.required else None}
    trace = (await ctx.ask("reasoner", "trace", Trace, talk=read_out(talk), when=rules.when, **shared)).trace.strip()
    guide = system(ctx.prompt("response", trace=trace, words=rules.words[1], **shared))
    own = [message.model_copy(update={"reasoning_content": None}) for message in talk]
    reply = await ctx.chat("writer", [guide, *own], tools=prompt.tools)
    if reply.message.tool_calls or not reply.text.strip():
        raise Reject("response", "calls_instead", "the writer called a tool where it was to answer")
    return Composed(trace, reply.text.strip())


async def _adherence(
    ctx: Context, policies: Policies, talk: list[Message], policy: PolicyName, response: str
) -> Verdict:
    """Whether the response keeps to its policy, by the role `judge`. Reject `adherence`: failed."""
    rules = policies.policies[policy]
    found = await ctx.ask(
        "judge", "adherence", Adherence, when=rules.when, how=rules.how, talk=read_out(talk), response=response
    )
    if not found.verdict:
        raise Reject("adherence", "failed", found.reason, policy=policy, response=response)
    return Verdict(name="adherence", passed=True, score=1.0, reason=found.reason, model=ctx.model("judge"))
