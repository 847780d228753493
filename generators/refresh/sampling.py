"""How many attempts a prompt gets: all that are asked for where something tells right from wrong, else one.

A prompt that carries nothing to check by is asked once. Where that answer marks a final answer, or is none, the other
attempts follow, for there may be something to vote on. Of answers that nobody compares the second is paid for nothing.
"""

from generators.refresh.attempts import Attempt, attempt
from generators.refresh.choosing import Choosing
from generators.refresh.prompt import Prompt
from gristmill import Context
from judges.claims import read_claim


async def sample(ctx: Context, prompt: Prompt, samples: int, language: str, choosing: Choosing) -> list[Attempt]:
    """The teacher's attempts at the prompt, all at once but for the first of those that nothing checks."""

    async def more(count: int) -> list[Attempt]:
        return await ctx.gather(
            attempt(ctx, prompt.messages, prompt.tools, prompt.rules, language) for _ in range(count)
        )

    is_checked = prompt.reference or prompt.tests or prompt.constraints or prompt.choices
    if is_checked or choosing.how == "best" or choosing.records > 1:
        return await more(samples)
    first = await more(1)
    claim = read_claim(first[0].text)
    if first[0].fault or (claim and claim.explicit):
        return [*first, *await more(samples - 1)]
    return first
