"""Questions across documents: written, checked, answered eight times, and kept where the answers agree.

    writer       sees excerpts from different sections; gives a question, a format, an answer, and a quote for each hop
    check        every quote stands in the context, no two in one section, in two documents at least
    closed_book  answers without the context; whoever is right there shows that the context isn't needed
    solver       sees exactly the record's user turn, `traces` times
    vote         exact, then numbers, then the role `judge` in both orders; the shortest trace of the majority is kept

Source: Nemotron 3 Super report (arXiv 2604.12374), long context: 4-7 hops, eight traces, semantic majority.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Annotated, NamedTuple, Protocol

from pydantic import Field

from generators.long_context.context import Depth, TokenCounter, band
from generators.long_context.documents.contexts import Bundle, Section, open_shelf
from generators.long_context.documents.library import FILE, Documents
from gristmill import Answer, Context, Record, Reject, Verdict
from judges.claims import final_answer
from judges.votes import Vote, majority_vote, normalised
from schemas import JsonObject, Message, user

SHORTEST_SECTION = 160
"""Characters of a paragraph that is worth a hop."""

LONGEST_EXCERPT = 1600
SHORTEST_QUOTE = 12
RESERVED = 120
"""Tokens that are left for the question, which comes after the context."""

LEADS = (
    "Read the documents below. The question after them can only be answered from several of them together.",
    "Here are some documents on related subjects, in no particular order. Please answer the question at the end.",
    "The following documents are numbered. A question about them comes last.",
    "Study these documents and then answer what I ask below them.",
)


class Cell(Protocol):
    """What a task says."""

    @property
    def kind(self) -> str: ...
    @property
    def length(self) -> int: ...
    @property
    def depth(self) -> Depth: ...
    @property
    def index(self) -> int: ...


class Hop(Answer):
    quote: Annotated[str, Field(max_length=400)]
    says: Annotated[str, Field(max_length=300)]


class Written(Answer):
    question: Annotated[str, Field(max_length=1200)]
    format: Annotated[str, Field(max_length=300)]
    answer: Annotated[str, Field(max_length=300)]
    hops: Annotated[list[Hop], Field(max_length=12)]


class Found(NamedTuple):
    """A hop's evidence: where it stands."""

    quote: str
    says: str
    document: int
    section: int
    token: int


class Attempt(NamedTuple):
    message: Message
    claim: str

    @property
    def length(self) -> int:
        return len(self.message.reasoning_content or "") + len(self.message.content)


async def by_documents(cell: Cell, config: Documents, counter: TokenCounter, ctx: Context) -> Record:
    """The record of one task. Rejects: see docs/long_context.md."""
    shelf = await ctx.resource(open_shelf, str(ctx.artifacts / FILE))
    topic, rng = cell.index % len(shelf.topics), Random(ctx.rng.random())
    lead = rng.choice(LEADS)
    room = cell.length - counter.count(lead) - RESERVED
    bundle = await asyncio.to_thread(shelf.bundle, topic, room, counter, rng)
    wanted = rng.randint(*config.hops)
    excerpts = choose_sections(bundle, wanted, cell.depth, rng)
    written = await ctx.ask(
        "writer", "question", Written, terms=bundle.topic.terms, hops=wanted, least=config.hops[0], most=config.hops[1],
        excerpts=[
            {"document": section.document + 1, "title": bundle.documents[section.document].title,
             "text": bundle.text[section.start : section.end][:LONGEST_EXCERPT]}
            for section in excerpts
        ],
    )  # fmt: skip
    hops = check_question(written, bundle, excerpts, config)
    question = f"{written.question.strip()} {written.format.strip()}"
    guesses = await _guesses(ctx, config, question)
    await _require_unguessed(ctx, guesses, written.answer, question)
    asked = [user(f"{lead}\n\n{bundle.text}\n\n{question}")]
    attempts, lost = await _solve(ctx, asked, config.traces)
    vote = await majority_vote(
        ctx, [attempt.claim for attempt in attempts], "semantic", role="judge", question=question
    )
    _require_majority(vote, attempts, config)
    kept = min((attempts[place] for place in vote.winner), key=lambda attempt: attempt.length)
    await _require_unguessed(ctx, guesses, kept.claim, question)
    agreement = len(vote.winner) / config.traces
    return Record(
        messages=[*asked, kept.message],
        category=f"documents/{cell.kind}",
        metadata={
            "mode": "documents", "cell": {"mode": "documents", "kind": cell.kind, "length": cell.length,
            "depth": cell.depth},
            "context": _context(bundle, hops), "hops": len(hops),
            "evidence": [
                {"quote": hop.quote, "says": hop.says, "document": hop.document + 1, "token": hop.token} for hop in hops
            ],
            "answer": kept.claim, "written_answer": written.answer, "topic": [*bundle.topic.terms],
            "candidates": [attempt.claim for attempt in attempts], "attempts": config.traces, "lost": {**lost},
            "agreement": round(agreement, 4), "groups": [len(group) for group in vote.groups],
        },
        verdicts=[Verdict(name="vote", passed=True, score=round(agreement, 4),
        reason=f"{len(vote.winner)} of {config.traces} say {kept.claim[:100]!r}")],
    )  # fmt: skip


def choose_sections(bundle: Bundle, wanted: int, depth: Depth, rng: Random) -> list[Section]:
    """Sections within the depth's band (anywhere where it has too few), from as many documents as can be."""
    sections = bundle.sections(SHORTEST_SECTION)
    low, high = (edge * len(bundle.text) for edge in band(depth))
    within = [section for section in sections if low <= section.start < high]
    usable = within if len(within) >= wanted else sections
    if len(usable) < wanted:
        raise Reject("context", "too_few_sections", f"{len(usable)} sections for {wanted} hops")
    rng.shuffle(usable)
    turns: Counter[int] = Counter()
    rounds = []
    for section in usable:  # the first of each document, then the second of each ...
        rounds.append((turns[section.document], section))
        turns[section.document] += 1
    rounds.sort(key=lambda one: one[0])
    return sorted(section for _, section in rounds[:wanted])


def check_question(written: Written, bundle: Bundle, excerpts: Sequence[Section], config: Documents) -> list[Found]:
    """The evidence of each hop, found in the context: where a quote stands in an excerpt, else where it stands first.
    Reject `question` where something about it isn't as it must be."""

    def reject(reason: str, detail: str = "") -> Reject:
        return Reject("question", reason, detail[:300], written=written.model_dump(mode="json"))

    least, most = config.hops
    if not written.question.strip().endswith("?"):
        raise reject("no_question", written.question[-80:])
    if not written.format.strip():
        raise reject("no_format")
    if not least <= len(written.hops) <= most:
        raise reject("hop_count", f"{len(written.hops)} hops, {least} to {most} wanted")
    answer = normalised(written.answer)
    if len(answer) > 3 and answer in normalised(written.question):
        raise reject("holds_answer", written.answer)
    sections = bundle.sections(1)
    starts = [section.start for section in sections]
    found: list[Found] = []
    for hop in written.hops:
        places = find_quote(hop.quote, bundle.text)
        if not places:
            raise reject("quote_missing", hop.quote)
        shown = (place for place in places if any(one.start <= place < one.end for one in excerpts))
        place = next(shown, places[0])
        section = sum(start <= place for start in starts) - 1
        if section in {one.section for one in found}:
            raise reject("same_section", hop.quote)
        found.append(Found(hop.quote, hop.says, bundle.document_at(place), section, bundle.token_at(place)))
    if len(bundle.documents) > 1 and len({one.document for one in found}) < 2:
        raise reject("one_document", bundle.documents[found[0].document].title)
    return found


def find_quote(quote: str, text: str) -> list[int]:
    """Where a quote stands, whatever its line breaks; nowhere if it is too short to mean a place."""
    words = quote.strip().strip("“”\"'… ").split()
    if len(" ".join(words)) < SHORTEST_QUOTE:
        return []
    return [match.start() for match in re.finditer(r"\s+".join(map(re.escape, words)), text)]


async def _guesses(ctx: Context, config: Documents, question: str) -> list[str]:
    """Answers without the context. A call that is lost is no answer."""
    prompt = ctx.prompt("closed_book", question=question)
    replies = await ctx.gather(
        (ctx.chat("closed_book", [user(prompt)]) for _ in range(config.closed_book)), keep_rejects=True
    )
    return [final_answer(reply.text) for reply in replies if not isinstance(reply, Reject)]


async def _require_unguessed(ctx: Context, guesses: Sequence[str], answer: str, question: str) -> None:
    """Reject where a guess is the answer."""
    for guess in dict.fromkeys(guesses):
        vote = await majority_vote(ctx, [final_answer(answer), guess], "semantic", role="judge", question=question)
        if len(vote.groups) == 1:
            raise Reject("closed_book", "answered", guess[:200], question=question)


async def _solve(ctx: Context, asked: list[Message], traces: int) -> tuple[list[Attempt], Counter[str]]:
    """The attempts that give an answer, and the reasons of the others."""
    replies = await ctx.gather((ctx.chat("solver", asked) for _ in range(traces)), keep_rejects=True)
    lost = Counter(reply.reason for reply in replies if isinstance(reply, Reject))
    attempts = [Attempt(reply.message, final_answer(reply.text)) for reply in replies if not isinstance(reply, Reject)]
    if not attempts:
        reason = lost.most_common(1)[0][0]
        raise Reject("solver", reason, f"none of {traces} attempts gave an answer", lost={**lost})
    return attempts, lost


def _require_majority(vote: Vote, attempts: Sequence[Attempt], config: Documents) -> None:
    if len(vote.winner) < 2 or vote.is_tie or len(vote.winner) < config.min_majority * config.traces:
        sizes = ", ".join(str(len(group)) for group in vote.groups)
        raise Reject(
            "vote", "no_majority", f"groups of {sizes}; {config.traces} attempts",
            answers=[attempt.claim for attempt in attempts],
        )  # fmt: skip


def _context(bundle: Bundle, hops: Sequence[Found]) -> JsonObject:
    return {
        "tokens": bundle.tokens, "evidence": [hop.token for hop in hops],
        "documents": [{"title": one.title, "offset": one.offset, "tokens": one.tokens} for one in bundle.documents],
    }  # fmt: skip
