"""How fast conversations become packs, beside TRL on the same rows with the same tokenizer.

    python benchmarks/sft_prep.py [--rows 2000] [--tokenizer FOLDER] [--planned 1000000]

Rows are conversations of one to three turns with traces, a fifth of them with a tool; their texts are cut from the docs
and from Python's library. Printed: tokens per second of rendering and tokenising on one core; the same by what TRL's
trainer calls for each row, its template with marks given; a whole `gristmill prep` from parquet to packs; and the
packing plan, with its speed and how full the packs are, beside TRL's `pack_dataset`.
The tokenizer is Qwen3's where GRISTMILL_SHARED has it, else a BPE of 4,096 tokens trained on the rows.
"""

import os

os.environ["RAYON_NUM_THREADS"] = "1"  # before any tokenizer is loaded: the figures are of one core

import argparse
import gzip
import random
import resource
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray

from gristmill.render import Renderer, RenderError, load_renderer
from schemas import Function, FunctionSpec, Message, Record, Tool, ToolCall, assistant, system, tool, user
from schemas.arrow import records_to_table
from sft.packing import plan_packs

ROOT = Path(__file__).parents[1]
ROUNDS = 5
COPIES = 5  # of the rows, in the blend of the whole prep


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--tokenizer", help="a folder; Qwen3's or a trained one otherwise")
    parser.add_argument("--planned", type=int, default=1_000_000, help="conversations of the packing plan")
    arguments = parser.parse_args()
    made = records(arguments.rows)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        renderer = prepared(arguments.tokenizer, made, folder / "tokenizer")
        measure_rendering(renderer, made, folder / "tokenizer")
        measure_prep(made, folder)
    measure_plan(arguments.planned)


def records(count: int) -> list[Record]:
    rng = random.Random(0)
    prose = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md")))
    library = Path(sysconfig.get_paths()["stdlib"]).glob("*.py")
    code = "\n".join(path.read_text(encoding="utf-8") for path in islice(sorted(library), 150))
    clock = Tool(function=FunctionSpec(name="clock", description="The time.", parameters={"type": "object"}))

    def cut(text: str, mean: int) -> str:
        length = min(int(rng.lognormvariate(0, 0.6) * mean), 20_000)
        start = rng.randrange(len(text) - length)
        return text[start : start + length].strip() or "so"

    def turn(tooled: bool) -> list[Message]:
        call = ToolCall(id="1", function=Function(name="clock", arguments='{"zone": "Oslo"}'))
        calls = [assistant("", cut(prose, 300), [call]), tool(cut(prose, 200), "1")] if tooled else []
        return [user(cut(prose, 400)), *calls, assistant(cut(code, 600), cut(prose, 1200))]

    return [
        Record(
            messages=[system(cut(prose, 150)), *chain(*(turn(number % 5 == 0) for _ in range(rng.randint(1, 3))))],
            tools=[clock] if number % 5 == 0 else [],
            category="code",
        )
        for number in range(count)
    ]


def prepared(name: str | None, made: list[Record], folder: Path) -> Renderer:
    """The renderer; its tokenizer is saved in `folder`."""
    qwen = Path(os.environ.get("GRISTMILL_SHARED", ROOT / "../shared/data")) / "tokenizers/qwen3"
    if name is None and qwen.is_dir():
        name = str(folder)
        folder.mkdir()
        for file in ("tokenizer.json", "tokenizer_config.json"):
            (folder / file).write_bytes(gzip.decompress((qwen / f"{file}.gz").read_bytes()))
    renderer = load_renderer(name or "train:4096", "nemotron3", "keep", made)
    renderer.tokenizer.save(folder, trls_template())
    print(f"tokenizer: {renderer.tokenizer.vocab_size:,} tokens ({'given' if name else 'trained on the rows'})")
    return renderer


def trls_template() -> str:
    import trl

    return (Path(trl.__file__).parent / "chat_templates/nemotron_3_super_training.jinja").read_text(encoding="utf-8")


def measure_rendering(renderer: Renderer, made: list[Record], folder: Path) -> None:
    """With `history: keep`, so that both make one sequence per row."""
    from transformers import AutoTokenizer

    theirs: Any = AutoTokenizer.from_pretrained(folder)
    rows: list[dict[str, Any]] = [
        {
            "messages": [with_mapping(message) for message in record.messages],
            "tools": [t.model_dump(mode="json") for t in record.tools] or None,
        }
        for record in made
    ]

    def ours() -> list[NDArray[np.int32]]:
        batches = (renderer.render(made[start : start + 64]) for start in range(0, len(made), 64))
        return [rendered[0].ids for batch in batches for rendered in batch if not isinstance(rendered, RenderError)]

    def by_trl(some: list[dict[str, Any]]) -> list[list[int]]:
        options = {"tokenize": True, "return_dict": True, "return_assistant_tokens_mask": True}
        options |= {"truncate_history_thinking": False}
        return [theirs.apply_chat_template(row["messages"], tools=row["tools"], **options)["input_ids"] for row in some]

    ids = ours()
    few = rows[: max(1, len(rows) // 10)]
    assert all(left.tolist() == right for left, right in zip(ids, by_trl(few), strict=False)), "other tokens"
    tokens, of_few = sum(map(len, ids)), sum(map(len, ids[: len(few)]))
    rounds = [(seconds(ours), seconds(lambda: by_trl(few))) for _ in range(ROUNDS)]
    speeds = [(tokens / mine, of_few / other) for mine, other in rounds]
    print(f"{len(made):,} conversations, {tokens / len(made):,.0f} tokens each; tokens per second and core:")
    print(f"  Gristmill, rendering and tokenising: {statistics.median(mine for mine, _ in speeds):,.0f}")
    print(f"  TRL, apply_chat_template with mask:  {statistics.median(other for _, other in speeds):,.0f} (same ids)")
    print(f"  ratio: {statistics.median(mine / other for mine, other in speeds):.1f}")


def with_mapping(message: Message) -> dict[str, Any]:
    """For TRL's template, which wants a call's arguments as a mapping."""
    plain: dict[str, Any] = message.to_openai()
    for call in plain.get("tool_calls", []):
        call["function"]["arguments"] = orjson.loads(call["function"]["arguments"])
    return plain


def measure_prep(made: list[Record], folder: Path) -> None:
    """The command, with an interpreter's start and the loading of the tokenizer."""
    (folder / "blend/train").mkdir(parents=True)
    table = records_to_table(made)
    place = table.schema.get_field_index("uuid")
    with pq.ParquetWriter(folder / "blend/train/0.parquet", table.schema, compression="zstd") as writer:
        for copy in range(COPIES):
            writer.write_table(table.set_column(place, "uuid", pa.array([f"{copy}-{n}" for n in range(len(made))])))
    stage = {"name": "token", "global_batch": 1, "lr": 1e-5, "steps": 1}
    data = {"blend": "blend", "tokenizer": "tokenizer", "pack_tokens": 65536}
    (folder / "sft.yaml").write_text(yaml.safe_dump({"out": "out", "data": data, "stages": [stage]}))
    environment = {key: value for key, value in os.environ.items() if key != "RAYON_NUM_THREADS"}
    started = time.monotonic()
    command = [sys.executable, "-m", "gristmill.cli", "prep", "sft.yaml"]
    said = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout
    wall, used = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    summary = orjson.loads((folder / "out/data/token/summary.json").read_bytes())
    tokens, cpu = summary["train"]["tokens"], used.ru_utime + used.ru_stime
    print(f"gristmill prep, parquet to packs: {tokens:,} tokens in {wall:.1f} s, {cpu:.1f} s of CPU; ", end="")
    print(f"{tokens / cpu:,.0f} tokens per second and core; {used.ru_maxrss / 1024:,.0f} MB in the largest process")
    print("  " + said.strip())


def measure_plan(count: int) -> None:
    """Lengths as of agents, chats and a few long contexts, as far as they fit."""
    from datasets import Dataset
    from datasets.utils.logging import disable_progress_bar
    from trl.data_utils import pack_dataset

    disable_progress_bar()
    for pack_tokens in (4096, 65536, 262144):
        lengths = drawn_lengths(count, pack_tokens)
        took = statistics.median(seconds(partial(plan_packs, lengths, pack_tokens, 0)) for _ in range(3))
        packs = len(plan_packs(lengths, pack_tokens, 0).starts) - 1
        full = lengths.sum() / (packs * pack_tokens)
        some = lengths[:4000]
        offsets = np.concatenate([[0], np.cumsum(some)])
        column = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(np.zeros(offsets[-1], np.int8)))
        theirs = pack_dataset(Dataset(pa.table({"input_ids": column})), pack_tokens)
        their_full = some.sum() / (len(theirs) * pack_tokens)
        print(
            f"plan of {count:,} conversations for {pack_tokens:,} tokens: {count / took:,.0f} per second and core, "
            f"{full:.2%} full (TRL, which plans 1,000 at a time: {their_full:.2%})"
        )


def drawn_lengths(count: int, pack_tokens: int) -> NDArray[np.int64]:
    rng = np.random.default_rng(0)
    kind = rng.random(count)
    agents, chats = rng.lognormal(np.log(6000), 0.8, count), rng.lognormal(np.log(1200), 1.0, count)
    long_contexts = rng.uniform(pack_tokens / 4, pack_tokens, count)
    drawn = np.where(kind < 0.36, agents, np.where(kind < 0.98, chats, long_contexts))
    lengths: NDArray[np.int64] = np.clip(drawn, 16, pack_tokens).astype(np.int64)
    return lengths


def seconds(work: Callable[[], object]) -> float:
    """Of CPU, which others on the machine don't add to."""
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()
