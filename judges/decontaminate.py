"""decontaminate: a record must not give away a benchmark's item, by text, code, shared n-grams or similarity.

    {name: decontaminate, against: [humaneval.jsonl.gz, "hf://openai/gsm8k"], similarity: calibrated}

    failed   HumanEval: HumanEval/12, code 1.00

All texts of a record are compared, traces and arguments of calls too. The reason names the items with the method and
its score; the verdict's score is 1 minus the highest of them. With `similarity`, the role `embedder` is asked: an
embedder, whose threshold must have been calibrated. See docs/decontamination.md.

Source: Nemotron 3 Super report (arXiv 2604.12374), decontamination of the algorithmic problems; 13-grams after
Brown et al. 2020 (https://arxiv.org/abs/2005.14165).
"""

from pathlib import Path

from gristmill import Context, Judge, Record, Reject, Verdict
from gristmill.decontamination import Hit, Index, read_benchmark, record_texts
from gristmill.decontamination.benchmarks import HUB
from gristmill.decontamination.calibration import calibration_files, resolve
from gristmill.decontamination.similarity import Neighbours, benchmark_passages, record_passages
from gristmill.llm.embeddings import refusal
from schemas.decontamination import Decontaminate

SHOWN = 3  # items in a reason


class Params(Decontaminate):
    role: str = "embedder"


class Decontaminated(Judge[Params]):
    name = "decontaminate"

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        self._index = Index([read_benchmark(location) for location in params.against], params.ngram)
        self._neighbours: Neighbours | None = None
        self._threshold = 1.0

    def embedders(self) -> list[str]:
        return [self.params.role] if self.params.similarity is not None else []

    def files(self) -> list[Path]:
        local = [Path(location) for location in self.params.against if not location.startswith(HUB)]
        return [*local, *calibration_files(self.params.similarity)]

    async def prepare(self, ctx: Context) -> None:
        """Embeds the benchmarks."""
        if self.params.similarity is None:
            return
        role = self.params.role
        self._threshold = resolve(self.params.similarity, ctx.embedder(role)).threshold
        try:
            vectors = await ctx.embed(role, benchmark_passages(self._index.benchmarks))
        except Reject as reject:
            raise refusal(role, ctx.embedder(role), reject) from None
        self._neighbours = Neighbours(self._index.benchmarks, vectors)

    async def judge(self, record: Record, ctx: Context) -> Verdict:
        messages = [message.to_openai() for message in record.messages]
        hits = self._index.hits(record_texts(messages))
        model = None
        if self._neighbours is not None and not hits:
            model = ctx.embedder(self.params.role)
            hits = self._similar(self._neighbours.nearest(await ctx.embed(self.params.role, record_passages(messages))))
        return Verdict(
            name=self.name,
            passed=not hits,
            score=round(1 - max((hit.score for hit in hits), default=0.0), 4),
            reason="; ".join(map(str, hits[:SHOWN])) + (f"; {len(hits) - SHOWN} more" if len(hits) > SHOWN else ""),
            model=model,
        )

    def _similar(self, nearest: list[Hit]) -> list[Hit]:
        return [hit for hit in nearest if hit.score >= self._threshold]
