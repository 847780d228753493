"""Which attempts are right, by what the prompt carries, cheapest first.

    constraints   by code, on each attempt (attempts.py); what only a reader can tell, last of all
    choice        the letter of the option
    reference     text, number and unit, mathematics; what code can't tell is asked of the judge, once per claim
    tests         in the sandbox
    vote          nothing to compare with, but the answers end in a claim: what most of them say
    open          neither: the judges of the config decide

A strong majority that agrees on another answer than the reference says more about the reference than about itself: the
task is kept aside as `suspected_wrong`, with both answers.

Source: self-consistency, Wang et al. 2022 (arXiv 2203.11171); Nemotron 3 Super report (arXiv 2604.12374).
"""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Annotated, Literal

from pydantic import Field

from generators.refresh.attempts import Attempt
from generators.refresh.prompt import Prompt
from gristmill import Config, Context, Record, Reject, Verdict
from gristmill.sandbox import SandboxLimits
from judges.claims import read_claim, read_letter
from judges.constraints import Other
from judges.instruction_following import InstructionFollowing
from judges.instruction_following import Params as FollowingParams
from judges.python_tests import Params as TestParams
from judges.python_tests import PythonTests, python_blocks
from judges.sameness import answers, same
from judges.votes import Groups, Vote, means_the_same
from schemas import JsonObject, Message

Kind = Literal["choice", "reference", "tests", "constraints", "vote", "open"]

Share = Annotated[float, Field(ge=0, le=1)]
LEAST_SUSPICIOUS = 3
"""So many attempts have to agree against a reference before it is suspected."""


class Checks(Config):
    """`ask_judge: false` leaves what code can't tell undecided, and so lost. `min_agreement` is the share of a vote's
    winner, `suspect` the share that must agree on another answer than the reference before that is suspected."""

    ask_judge: bool = True
    min_agreement: Share = 0.5
    suspect: Share = 0.75
    limits: SandboxLimits = SandboxLimits()


def kind_of(prompt: Prompt, attempts: Sequence[Attempt]) -> Kind:
    """How the answers are checked. Without anything to go by, a vote needs two attempts, half of them with a claim."""
    if prompt.tests:
        return "tests"
    if prompt.reference:
        return "choice" if prompt.choices else "reference"
    if prompt.constraints:
        return "constraints"
    claims = [claim for one in attempts if one.message and (claim := read_claim(one.text))]
    votes = prompt.choices or 2 * sum(claim.explicit for claim in claims) >= len(attempts)
    return "vote" if votes and len(attempts) > 1 and not any(map(_calls, attempts)) else "open"


async def check_attempts(ctx: Context, prompt: Prompt, attempts: Sequence[Attempt], checks: Checks) -> Kind:
    """Gives each attempt that isn't lost yet its verdicts or its fault; Reject where the reference is suspected."""
    kind = kind_of(prompt, attempts)
    if kind != "open":
        for one in _alive(attempts):
            if _calls(one):
                one.lose("answer", "calls_instead", "a call of a tool, where an answer was to be checked")
    if prompt.reference:
        await _by_reference(ctx, prompt, attempts, checks)
    if prompt.tests:
        await _by_tests(ctx, prompt, attempts, checks)
    if kind == "vote":
        await _by_vote(ctx, prompt, attempts, checks)
    if prompt.constraints:
        await _by_constraints(ctx, prompt, attempts, checks)
    return kind


def _alive(attempts: Sequence[Attempt]) -> list[Attempt]:
    return [one for one in attempts if one.fault is None]


def _calls(one: Attempt) -> bool:
    return bool(one.message and one.message.tool_calls)


def _read_claims(prompt: Prompt, attempts: Sequence[Attempt], stage: str) -> list[Attempt]:
    """Those that state a final answer; the others are lost."""
    claiming = []
    for one in _alive(attempts):
        claim = read_claim(one.text)
        one.claim = (read_letter(one.text, prompt.choices) or "") if prompt.choices else claim.text if claim else ""
        if one.claim:
            claiming.append(one)
        else:
            one.lose(stage, "no_final_answer", f"... {one.text[-100:]}")
    return claiming


async def _by_reference(ctx: Context, prompt: Prompt, attempts: Sequence[Attempt], checks: Checks) -> None:
    stage = "choice" if prompt.choices else "reference"
    claiming = _read_claims(prompt, attempts, stage)
    found = await _right_claims(ctx, prompt, list(dict.fromkeys(one.claim for one in claiming)), checks)
    wrong = [one for one in claiming if found[one.claim] is False]
    if wrong:
        _suspect(prompt, stage, wrong, len(attempts), checks)
    told = " or ".join(map(repr, prompt.reference))[:120]
    for one in claiming:
        right = found[one.claim]
        reason = f"{one.claim[:100]!r} is {'' if right else 'not '}{told}"
        one.verdicts.append(
            Verdict(name=stage, passed=right, score=None if right is None else float(right), reason=reason)
        )
        if right is not True:
            one.lose(stage, "undecided" if right is None else "wrong", reason)


async def _right_claims(ctx: Context, prompt: Prompt, claims: list[str], checks: Checks) -> dict[str, bool | None]:
    """For each claim whether it is one of the references; a judge's yes counts as one, in both orders."""
    if prompt.choices:
        return {claim: claim in prompt.reference for claim in claims}
    found = {
        claim: _any([answers(reference, claim, prompt.question) for reference in prompt.reference]) for claim in claims
    }
    unclear = [claim for claim, right in found.items() if right is None]
    if checks.ask_judge and unclear:
        judged = await ctx.gather(_means_one(ctx, prompt, claim) for claim in unclear)
        found.update(zip(unclear, judged, strict=True))
    return found


def _any(found: Sequence[bool | None]) -> bool | None:
    return True if True in found else None if None in found else False


async def _means_one(ctx: Context, prompt: Prompt, claim: str) -> bool | None:
    """None where the judge gives no answer."""
    for reference in prompt.reference:
        try:
            if await means_the_same(ctx, "judge", reference, claim, prompt.question):
                return True
        except Reject:
            return None
    return False


def _suspect(prompt: Prompt, stage: str, wrong: list[Attempt], attempts: int, checks: Checks) -> None:
    groups = Groups(len(wrong))
    for one, other in combinations(range(len(wrong)), 2):
        if wrong[one].claim == wrong[other].claim or (
            not prompt.choices and same(wrong[one].claim, wrong[other].claim)
        ):
            groups.join(one, other)
    leading = groups.vote().winner
    if len(leading) >= max(LEAST_SUSPICIOUS, checks.suspect * attempts):
        claim = wrong[leading[0]].claim
        raise Reject(
            stage, "suspected_wrong", f"{len(leading)} of {attempts} say {claim[:100]!r}, not {prompt.reference[0]!r}",
            reference=prompt.reference, majority=claim, agreement=round(len(leading) / attempts, 4), id=prompt.id,
            messages=[message.to_openai() for message in prompt.messages], answer=wrong[leading[0]].text,
        )  # fmt: skip


async def _by_tests(ctx: Context, prompt: Prompt, attempts: Sequence[Attempt], checks: Checks) -> None:
    judge, alive = PythonTests(TestParams(limits=checks.limits)), _alive(attempts)
    verdicts = await ctx.gather(judge.judge(_record(prompt, one), ctx) for one in alive)
    same_fault = Counter(verdict.reason for verdict in verdicts if verdict.score and not verdict.passed).most_common(1)
    if same_fault and same_fault[0][1] >= max(LEAST_SUSPICIOUS, checks.suspect * len(attempts)):
        raise Reject(
            "python_tests", "suspected_wrong", f"{same_fault[0][1]} of {len(attempts)} fail alike: {same_fault[0][0]}",
            tests=prompt.tests, id=prompt.id, messages=[message.to_openai() for message in prompt.messages],
            answer=alive[0].text,
        )  # fmt: skip
    for one, verdict in zip(alive, verdicts, strict=True):
        one.verdicts.append(verdict)
        if verdict.passed is not True:
            one.lose("python_tests", verdict.reason.partition(":")[0].partition(" (")[0], verdict.reason)


def code_metadata(prompt: Prompt, text: str) -> JsonObject:
    """`metadata.code` for judges.python_tests: of several blocks that with the entry point is the solution."""
    code: JsonObject = {"tests": list(prompt.tests), "entry_point": prompt.entry_point}
    blocks = python_blocks(text)
    if len(blocks) > 1 and prompt.entry_point:
        defining = [block for block in blocks if f"def {prompt.entry_point}(" in block]
        if len(defining) == 1:
            code["solution"] = defining[0]
    return code


def _record(prompt: Prompt, one: Attempt) -> Record:
    """What a judge is shown of an attempt."""
    message = one.message or Message(role="assistant")
    metadata: JsonObject = {"constraints": [*prompt.constraints]}
    return Record(
        messages=[*prompt.messages, message],
        metadata={**metadata, "code": code_metadata(prompt, one.text)} if prompt.tests else metadata,
    )


async def _by_vote(ctx: Context, prompt: Prompt, attempts: Sequence[Attempt], checks: Checks) -> None:
    claiming = _read_claims(prompt, attempts, "vote")
    if not claiming:
        return
    vote = await _vote(ctx, prompt, [one.claim for one in claiming], checks)
    agreement = len(vote.winner) / len(attempts)
    if len(vote.winner) < 2 or vote.is_tie or agreement < checks.min_agreement:
        for one in claiming:
            one.lose("vote", "no_majority", f"groups of {', '.join(str(len(group)) for group in vote.groups)}")
        return
    for position, one in enumerate(claiming):
        won = position in vote.winner
        reason = f"{len(vote.winner)} of {len(attempts)} say {claiming[vote.winner[0]].claim[:100]!r}"
        one.verdicts.append(Verdict(name="vote", passed=won, score=round(agreement, 4), reason=reason))
        if not won:
            one.lose("vote", "minority", reason)


async def _vote(ctx: Context, prompt: Prompt, claims: list[str], checks: Checks) -> Vote:
    """Groups of claims that are the same: by code, then where it can't tell by the judge, in both orders."""
    groups = Groups(len(claims))
    for one, other in combinations(range(len(claims)), 2):
        if claims[one] == claims[other] or (not prompt.choices and same(claims[one], claims[other])):
            groups.join(one, other)
    if checks.ask_judge and not prompt.choices:
        pairs = [pair for pair in combinations(groups.roots(), 2) if same(claims[pair[0]], claims[pair[1]]) is None]
        equal = await ctx.gather(
            (means_the_same(ctx, "judge", claims[one], claims[other], prompt.question) for one, other in pairs),
            keep_rejects=True,
        )
        for (one, other), is_same in zip(pairs, equal, strict=True):
            if is_same is True:
                groups.join(one, other)
    return groups.vote()


async def _by_constraints(ctx: Context, prompt: Prompt, attempts: Sequence[Attempt], checks: Checks) -> None:
    """Those that code can check hold already; a verdict on all, with the judge's on what only a reader can tell."""
    asks = checks.ask_judge and any(isinstance(given, Other) for given in prompt.rules)
    judge, alive = InstructionFollowing(FollowingParams(role="judge" if asks else None)), _alive(attempts)
    verdicts = await ctx.gather((judge.judge(_record(prompt, one), ctx) for one in alive), keep_rejects=True)
    for one, verdict in zip(alive, verdicts, strict=True):
        if isinstance(verdict, Reject):
            one.lose("constraints", "undecided", str(verdict))
            continue
        one.verdicts.append(verdict.model_copy(update={"parts": []}))
        if verdict.passed is not True:
            one.lose("constraints", "undecided" if verdict.passed is None else "other", verdict.reason)
