"""What people say of a run: a sample of what it accepted and rejected, their reviews, and what these tell.

    DIR/reviews.parquet
    id        uuid of the record, or the task's id where it was lost before there was one
    side      accepted | rejected          stratum   generator / category, or stage / reason
    reviewer, time (UTC, ISO)
    decision  accept | fix | reject        note      why
    edited    messages as JSON, where the decision is fix, else null

The sample is stratified: half of it from either side, in proportion to that side's strata, at least one of each while
there is room. Whose turn it is doesn't depend on the sample's size, and within a stratum the smallest hashes of
(seed, id) come first, so a larger sample contains the smaller. Rates weigh each review by how many candidates of its
stratum it stands for.

Source: Kish 1965, Survey Sampling (effective sample size); Wilson 1927 (the interval); Balinski and Young 1982, Fair
Representation (methods that never take a seat back as the house grows).
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from gristmill.agreement import compared, wilson
from gristmill.errors import GristmillError
from gristmill.runs import RunFolder
from schemas import Message, canonical_json
from schemas.arrow import rows_to_table

Side = Literal["accepted", "rejected"]
Decision = Literal["accept", "fix", "reject"]

REVIEWS = pa.schema(
    [(name, pa.string()) for name in
     ("id", "side", "stratum", "reviewer", "time", "decision", "note", "edited")]
)  # fmt: skip


class Candidate(NamedTuple):
    """A record, or what a run lost."""

    id: str
    side: Side
    stratum: str


class Review(NamedTuple):
    """One reviewer's decision on one candidate; see the module's docstring."""

    id: str
    side: Side
    stratum: str
    reviewer: str
    time: str
    decision: Decision
    note: str = ""
    edited: str | None = None


def candidates(folder: RunFolder) -> Iterator[tuple[Candidate, dict[str, Any]]]:
    """All that can be reviewed, with the row to show: records, and rejects. What failed holds nothing to be judged."""
    for rows in (folder.records, folder.rejects):
        yield from (reviewable(row) for row in _rows(rows) if row.get("status") != "failed")


def reviewable(row: dict[str, Any]) -> tuple[Candidate, dict[str, Any]]:
    """A row of records, or of rejects that did not fail, as a candidate and the row to show."""
    if "stage" not in row:
        return Candidate(row["uuid"], "accepted", stratum_of(row)), row
    lost = orjson.loads(row["payload"])
    shown = {**lost, **{key: row[key] for key in ("stage", "reason", "detail")}}
    return Candidate(lost.get("uuid") or row["task_id"], "rejected", stratum_of(row)), shown


def stratum_of(row: dict[str, Any]) -> str:
    """Of a row of records or of rejects."""
    return f"{row['stage']} / {row['reason']}" if "stage" in row else f"{row['generator']} / {row['category']}"


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(batch_size=256):
            yield from batch.to_pylist()


def draw(found: Sequence[Candidate], n: int, seed: int = 0) -> list[Candidate]:
    """At most `n` of them, in an order that mixes the sides."""
    accepted, rejected = ([one for one in found if one.side == side] for side in ("accepted", "rejected"))
    of_rejected = min(len(rejected), max(n // 2, n - len(accepted)))
    drawn = [*_stratified(accepted, n - of_rejected, seed), *_stratified(rejected, of_rejected, seed)]
    return sorted(drawn, key=lambda one: _rank(one, f"order {seed}"))  # by the other ranks the larger side comes first


def _stratified(found: Sequence[Candidate], n: int, seed: int) -> list[Candidate]:
    """One of each stratum, of the largest first; then in proportion to their sizes, as seats go by Sainte-Laguë."""
    strata: dict[str, list[Candidate]] = defaultdict(list)
    for one in sorted(found, key=lambda one: _rank(one, seed)):
        strata[one.stratum].append(one)
    turns = [
        ((place > 0, (place + 0.5) / len(members) if place else -len(members), name), one)
        for name, members in strata.items()
        for place, one in enumerate(members)
    ]
    return [one for _, one in sorted(turns, key=lambda turn: turn[0])[:n]]


def _rank(one: Candidate, seed: int | str) -> bytes:
    return sha256(f"{seed}|{one.side}|{one.id}".encode()).digest()


class Reviews:
    """The reviews of a run, as the module's docstring shows them. A reviewer's later decision replaces the earlier."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            rows = pq.read_table(path).to_pylist() if path.is_file() else []
        except pa.ArrowException as error:
            raise GristmillError(f"{path} can't be read ({error}); move it away to begin the review anew.") from None
        self._kept = {(row["id"], row["side"], row["reviewer"]): Review(**row) for row in rows}

    def __iter__(self) -> Iterator[Review]:
        return iter(self._kept.values())

    def __len__(self) -> int:
        return len(self._kept)

    def has(self, candidate: Candidate, reviewer: str) -> bool:
        return (candidate.id, candidate.side, reviewer) in self._kept

    def add(self, review: Review) -> None:
        """Keeps it, on disk too."""
        self._kept[review.id, review.side, review.reviewer] = review
        new = self._path.with_name(f".{self._path.name}.new")
        pq.write_table(rows_to_table([one._asdict() for one in self], REVIEWS), new, compression="zstd")
        new.replace(self._path)

    def latest(self) -> dict[tuple[str, Side], Review]:
        """The decision that counts for each candidate: the last one, whoever made it."""
        return {(one.id, one.side): one for one in sorted(self, key=lambda one: one.time)}


def mended(text: str | bytes) -> str:
    """Messages that a reviewer has edited as JSON, in the form in which a review keeps them; ValueError where they are
    none."""
    messages = TypeAdapter(list[Message]).validate_python(orjson.loads(text))
    return canonical_json([message.to_openai() for message in messages]).decode()


def audit_figures(reviews: Reviews, sizes: Counter[tuple[Side, str]]) -> dict[str, Any]:
    """`sizes` counts all candidates by side and stratum. A rate is {rate, low, high, n}, None without reviews:

    false_accepts   of what was accepted, the share that reviewers reject; needs_fix the share that they fix
    false_rejects   of what was rejected, the share that reviewers accept as it is
    """
    latest = list(reviews.latest().values())
    return {
        "reviewed": len(latest),
        "reviewers": sorted({one.reviewer for one in reviews}),
        "false_accepts": _rate(latest, sizes, "accepted", "reject"),
        "needs_fix": _rate(latest, sizes, "accepted", "fix"),
        "false_rejects": _rate(latest, sizes, "rejected", "accept"),
        "agreement": _between_reviewers(reviews),
    }


def _rate(
    reviews: Sequence[Review], sizes: Counter[tuple[Side, str]], side: Side, decision: Decision
) -> dict[str, Any] | None:
    of_side = [one for one in reviews if one.side == side]
    if not of_side:
        return None
    seen = Counter(one.stratum for one in of_side)
    weights = [max(sizes[side, one.stratum], 1) / seen[one.stratum] for one in of_side]
    hits = sum(weight for weight, one in zip(weights, of_side, strict=True) if one.decision == decision)
    rate, effective = hits / sum(weights), sum(weights) ** 2 / sum(weight**2 for weight in weights)
    low, high = wilson(rate * effective, effective)
    return {"rate": round(rate, 4), "low": round(low, 4), "high": round(high, 4), "n": len(of_side)}


def _between_reviewers(reviews: Reviews) -> list[dict[str, Any]]:
    """For every two reviewers: on how many both decided, the share of equal decisions, and Cohen's kappa."""
    decisions: dict[str, dict[tuple[str, str], str]] = defaultdict(dict)
    for review in reviews:
        decisions[review.reviewer][review.id, review.side] = review.decision
    found = []
    for one, other in combinations(sorted(decisions), 2):
        both = decisions[one].keys() & decisions[other].keys()
        if both:
            table = Counter((decisions[one][key], decisions[other][key]) for key in both)
            found.append({"reviewers": [one, other], **compared(table)})
    return found
