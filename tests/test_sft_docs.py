"""docs/sft.md: its worked example is computed again, by the code that trains."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gristmill.config import load_config
from schemas.evaluate_config import EvaluateConfig
from schemas.sft_config import SFTConfig, Stage
from sft.batches import Batch, batch_of
from sft.documents import Document, next_token_mask
from sft.loss import Counts, LossKind, count, target_weights

PAGE = (Path(__file__).parents[1] / "docs/sft.md").read_text(encoding="utf-8")
HEADS = ["main", "depth 1", "depth 2"]


def rows() -> dict[str, dict[str, list[str]]]:
    """By conversation and kind of row, the cells of its tokens."""
    table = re.search(r"<!-- example -->\n(.*?)<!-- end -->", PAGE, re.DOTALL)
    assert table
    found: dict[str, dict[str, list[str]]] = {}
    for line in table[1].splitlines()[2:]:
        name, kind, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        found.setdefault(name, {})[kind] = cells
    return found


def example() -> tuple[Batch, Counts, list[Tensor]]:
    """The conversations, their counts, and the losses of each head by the position that predicts."""
    given = rows()
    documents = []
    for name, kinds in given.items():
        flags = [cell == "yes" for cell in kinds["supervised"] if cell]
        mask = next_token_mask(np.array(flags, np.uint8))
        documents.append(Document(name, np.zeros(len(flags), np.int32), mask))
    batch, losses = batch_of(documents), []
    for depth, head in enumerate(HEADS):
        by_position = torch.zeros(batch.input_ids.shape, dtype=torch.float64)
        for row, kinds in enumerate(given.values()):
            for token, cell in enumerate(kinds[head]):
                if cell:
                    by_position[row, token - depth - 1] = float(cell)
        losses.append(by_position)
    return batch, count(documents, 2, torch.device("cpu")), losses


def number(pattern: str) -> float:
    """What the page says in the place of the pattern's group."""
    found = re.search(pattern, PAGE)
    assert found, pattern
    return float(found[1])


@pytest.mark.parametrize(("kind", "whole"), [("token", r"loss is ([\d.]*\d) with"), ("sample", r"and ([\d.]*\d) with")])
def test_the_worked_example_is_what_the_code_computes(kind: LossKind, whole: str) -> None:
    batch, counts, losses = example()
    parts = [(target_weights(batch, counts, depth, kind) * losses[depth]).sum().item() for depth in range(3)]
    main, mtp = parts[0], 0.3 * (parts[1] + parts[2])
    assert number(rf"`loss: {kind}`\*\*.*?\*\*([\d.]*\d)\*\*") == pytest.approx(main, abs=5e-5)
    assert number(r"\*\*MTP\*\*.*?\*\*([\d.]*\d)\*\*") == pytest.approx(mtp, abs=5e-5)
    assert number(whole) == pytest.approx(main + mtp, abs=5e-5)


def test_its_counts_and_weights_are_those_of_the_code() -> None:
    batch, counts, losses = example()
    assert counts.targets == [number(r"N⁰ = (\d+)"), number(r"N¹ = (\d+)"), number(r"N² = (\d+)")]
    assert counts.conversations == number(r"B⁺ = (\d+)")
    token, sample = (target_weights(batch, counts, 0, kind) for kind in ("token", "sample"))
    assert number(r"weighs 1/N⁰ = ([\d.]*\d)") == pytest.approx(token.max().item(), abs=5e-5)
    assert number(r"B's one token weighs ([\d.]*\d)") == pytest.approx(sample[1].max().item(), abs=5e-5)
    assert number(r"one of A's \(([\d.]*\d)\)") == pytest.approx(sample[0].max().item(), abs=5e-5)
    supervised = batch.loss_mask
    means = [(losses[0][rows] * supervised[rows]).sum() / supervised[rows].sum() for rows in ([0, 1], [2])]
    assert number(r"\(4\.5/4 \+ 1\.8/3\)/2 = ([\d.]*\d)") == pytest.approx(float(sum(means)) / 2, abs=5e-5)


def test_every_key_of_a_stage_is_explained() -> None:
    table = PAGE[PAGE.index("| key | meaning |") :].split("\n\n")[0]
    assert set(Stage.model_fields) - {"name"} <= set(re.findall(r"`(\w+)`", table))


RECIPES = sorted((Path(__file__).parents[1] / "recipes/sft").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_valid(path: Path) -> None:
    load_config(path, [], SFTConfig if "stages:" in path.read_text() else EvaluateConfig)
