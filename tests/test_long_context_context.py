"""Tokens of pieces: counted word by word where a tokenizer allows it, and never otherwise."""

from itertools import islice
from random import Random

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from generators.long_context.context import TokenCounter, token_counter
from generators.long_context.sequential.fillers import make_fillers
from generators.long_context.tables import people
from generators.long_context.tables.layouts import LAYOUTS
from generators.long_context.tables.table import Table
from gristmill.personas import personas

TEXTS = ["At the end of the day, the old notes were read out in all so far.", "of the old notes of the day"] * 50


def trained(cuts: pre_tokenizers.PreTokenizer | None, before: normalizers.Normalizer | None = None) -> TokenCounter:
    tokenizer = Tokenizer(models.BPE(unk_token="?"))
    if cuts:
        tokenizer.pre_tokenizer = cuts
    if before:
        tokenizer.normalizer = before
    alphabet = [chr(code) for code in range(32, 127)] + list("▁“”Łódź\n")
    tokenizer.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, special_tokens=["?"], show_progress=False)
    )
    return TokenCounter(tokenizer)


@pytest.mark.embedded
def test_words_add_up_to_whole_records() -> None:
    counter = token_counter("embedded")
    companies = people.companies(Random(0), 2)
    rows = list(islice(people.rows(personas(None, 3), companies, ["Jan Łoś"], Random(0)), 40))
    table = Table("person", "people", people.COLUMNS, rows)
    for layout in LAYOUTS.values():
        texts = [layout.write(table, row) for row in rows] + [layout.write(companies, row) for row in companies.rows]
        assert counter.pieces_by_word(texts, layout.separator) == counter.pieces(texts, layout.separator)
    fillers = [piece.text for piece in make_fillers(0, 4096, counter).pieces]
    odd = [
        "",
        " ",
        "two  spaces,   three",
        "ends in a space ",
        "日本語の文 と 中文",
        "naïve 👩‍👩‍👧 x²",
        "{'a': [1, -2.50]}",
    ]
    assert counter.pieces_by_word([*fillers, *odd]) == counter.pieces([*fillers, *odd])


@pytest.mark.parametrize(
    "counter",
    [
        trained(None),
        trained(None, normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])),
        trained(pre_tokenizers.Metaspace()),
        trained(pre_tokenizers.Whitespace()),
    ],
    ids=["joins words", "marks each text", "marks each word", "drops spaces"],
)
def test_other_tokenizers_count_as_exactly(counter: TokenCounter) -> None:
    texts = ["of the old notes", "the day so far in all", "At the end", "a of the of the b"]
    assert counter.pieces_by_word(texts) == counter.pieces(texts)
    assert [counter.count_by_word(text) for text in texts] == [counter.count(text) for text in texts]
