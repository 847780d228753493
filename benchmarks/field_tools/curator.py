"""The job by bespokelabs-curator: python curator.py URL ROWS IN_FLIGHT FOLDER. Two LLM blocks, one after the other."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bespokelabs import curator
from pydantic import BaseModel, Field
from tasks import question_prompt, score_prompt

litellm = find_spec("litellm")
assert litellm and litellm.origin  # it carries the encoding that tiktoken would fetch
os.environ["TIKTOKEN_CACHE_DIR"] = str(Path(litellm.origin).parent / "litellm_core_utils/tokenizers")

url, rows, in_flight, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])


class Verdict(BaseModel):
    score: int = Field(ge=1, le=5)
    reason: str = Field(max_length=200)


class Questions(curator.LLM):
    def prompt(self, row: dict[str, Any]) -> str:
        return question_prompt(row["number"])

    def parse(self, row: dict[str, Any], reply: str) -> dict[str, Any]:
        return {"number": row["number"], "question": reply}


class Scores(curator.LLM):
    response_format = Verdict

    def prompt(self, row: dict[str, Any]) -> str:
        return score_prompt(row["number"], row["question"])

    def parse(self, row: dict[str, Any], reply: Verdict) -> dict[str, Any]:
        return {**row, **reply.model_dump()}


backend = {
    "base_url": url,
    "api_key": "none",
    "max_concurrent_requests": in_flight,
    "max_requests_per_minute": 10**7,
    "max_tokens_per_minute": 10**10,
}
settings: dict[str, Any] = {"model_name": "stub", "backend": "openai", "backend_params": backend}
questions = Questions(**settings)([{"number": number} for number in range(rows)], working_dir=str(folder / "cache"))
scores = Scores(**settings)(questions.dataset, working_dir=str(folder / "cache"))
scores.dataset.to_json(folder / "out.jsonl")
