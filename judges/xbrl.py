"""xbrl: are the figures of an answer those of the filing's tagged facts, or derived from them?

The verdict's reason begins with what it is: *confirmed* (every figure), *contradicted* (with both figures) or *not
checkable*: there is no figure, or none that the facts know. Contradicted fails. What can't be checked passes with half
a score unless `unchecked: reject`, for a discussion of risks has little to check; an answer to a question with a
formula is not let off so.

It reads `metadata.xbrl`, which financial_qa writes: the facts, the values on the way and the results (xbrl_facts.py).

Source: ours; Nemotron 3 Super report (arXiv 2604.12374), financial QA, checks no figures.
"""

import asyncio
from typing import Literal

from gristmill import Config, Context, Judge, Record, Verdict
from judges.claims import final_answer
from judges.fields import answer, before_answer, lookup
from judges.figures import cleaned, figures_in
from judges.xbrl_facts import Proof, shown
from judges.xbrl_figures import states
from judges.xbrl_proof import Findings, check

_MOST = 3
"""Contradictions that a reason tells."""


class Params(Config):
    unchecked: Literal["keep", "reject"] = "keep"


class XBRL(Judge[Params]):
    name = "xbrl"

    async def judge(self, record: Record, ctx: Context) -> Verdict:
        text, told = answer(record), lookup(record, "metadata.xbrl")
        if not text or not isinstance(told, dict):
            return Verdict(name=self.name, passed=None, reason="no answer, or no facts in metadata.xbrl")
        try:
            proof = Proof.read(told)
        except (KeyError, TypeError, ValueError) as error:
            return Verdict(name=self.name, passed=None, reason=f"metadata.xbrl can't be read: {error!r}")
        given = "\n".join(message.content for message in before_answer(record) if message.role in ("system", "user"))
        found = await asyncio.to_thread(check, text, given, proof)
        return self.verdict(found, last_claim(text, proof), bool(proof.expected))

    def verdict(self, found: Findings, claim: str, formula: bool) -> Verdict:
        contradicted = [*found.contradicted, *([claim] if claim else [])]
        if not contradicted and found.missing and (found.confirmed or found.unknown):
            contradicted = found.missing
        if contradicted:
            return self._say(False, 0.0, "contradicted: " + "; ".join(contradicted[:_MOST]))
        if found.missing or found.unknown or not found.confirmed:
            why = found.missing or [f"{text} is in no fact" for text in found.unknown] or ["it states no figure"]
            passed = False if formula else True if self.params.unchecked == "keep" else None
            return self._say(passed, 0.5, "not checkable: " + "; ".join(why[:_MOST]))
        return self._say(
            True, 1.0, f"confirmed: {len(found.confirmed)} figure{'s' if len(found.confirmed) > 1 else ''}"
        )

    def _say(self, passed: bool | None, score: float, reason: str) -> Verdict:
        return Verdict(name=self.name, passed=passed, score=score, reason=reason)


def last_claim(text: str, proof: Proof) -> str:
    """Where the answer ends in a line that says so (`Answer: ...`, a box), that line must give the result."""
    final = cleaned(final_answer(text))
    figures = figures_in(final)
    if not proof.expected or final == cleaned(text).strip() or not figures:
        return ""
    targets = [target for target, _ in proof.expected]
    if any(states(figure, target, final) for figure in figures for target in targets):
        return ""
    return f"concludes with {figures[-1].text}, the facts say {shown(targets[-1])} ({targets[-1].name})"
