"""Documents: what is read, cleaned and left out, topics, contexts of a length, and questions that pass every check."""

import gzip
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from generators.long_context.context import Depth, TokenCounter, token_counter
from generators.long_context.documents.contexts import Bundle, Shelf, open_shelf
from generators.long_context.documents.library import FILE, LONGEST_PART, Builder, Documents
from generators.long_context.documents.questions import Hop, Written, check_question, choose_sections, find_quote
from generators.long_context.documents.read import Document, Skipped, decode, outline, page_text, read_documents
from generators.long_context.documents.split import first_tokens, split
from gristmill import Reject
from gristmill.errors import ConfigError
from gristmill.testing import ScriptedModel, check_generator, run_scripted
from schemas import Message
from tests.runs import rows_of

pytestmark = pytest.mark.embedded  # its tokenizer

_SUBJECTS = {
    "harbours": "harbour pier crane anchor ferry tide dock quay freight buoy pilot barge",
    "gardens": "garden rose soil compost seed hedge lawn orchard pruning bulb greenhouse trellis",
    "radios": "radio antenna valve transmitter frequency speaker circuit tuner signal aerial coil dial",
    "cheeses": "cheese rennet curd whey cellar rind ripening milk goat press brine wheel",
}  # fmt: skip


def document(subject: str, number: int, paragraphs: int = 6) -> dict[str, str]:
    """A text on a subject whose every paragraph has a fact of its own."""
    rng, words = Random(f"{subject}{number}"), _SUBJECTS[subject].split()
    parts = [
        f"The {rng.choice(words)} of {subject} number {number} has {rng.randint(100, 999)} {rng.choice(words)} parts "
        f"in section {place}. " + " ".join(rng.choice(words) for _ in range(40)).capitalize() + "."
        for place in range(paragraphs)
    ]
    return {"title": f"On {subject}, {number}", "text": "\n\n".join(parts)}


@pytest.fixture(scope="module")
def counter() -> TokenCounter:
    return token_counter("embedded")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    rows = [document(subject, number) for number in range(30) for subject in _SUBJECTS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def built(tmp_path: Path, counter: TokenCounter, longest: int, **config: Any) -> tuple[Builder, Path]:
    path = tmp_path / FILE
    builder = Builder(path, Documents(**config), counter)
    builder.read()
    builder.require(longest)
    builder.cluster(longest, None)
    builder.finish("key")
    return builder, path


# --- reading ----------------------------------------------------------------------------------------------------------


def read(path: Path, **fields: Any) -> list[Document | Skipped]:
    return list(read_documents(str(path), **fields))


def test_a_folder_with_everything_in_it(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD.txt").write_text("never read")
    (tmp_path / "src" / "tool.py").write_text("def tool() -> None:\n    ...\n")
    (tmp_path / "notes.md").write_text("# A heading\n\nText with  trailing   \r\n\r\n\r\n\r\nblanks.")
    (tmp_path / "page.html").write_text(
        "<html><head><title>A page</title><style>p {}</style></head><body><nav>Home</nav><p>First</p>"
        "<ul><li>one</li><li>two &amp; three</li></ul><script>x()</script></body></html>"
    )
    (tmp_path / "latin.txt").write_bytes("Ein Café in Köln, déjà vu.".encode("cp1252"))
    (tmp_path / "wide.txt").write_bytes("Schöne Grüße".encode("utf-16"))
    (tmp_path / "empty.txt").write_text(" \n ")
    (tmp_path / "image.txt").write_bytes(b"\x89PNG\0\0\x01")
    (tmp_path / "rows.jsonl").write_text('{"content": "A row\'s text", "id": "r1"}\n{"n": \n{"text": 5}\n')
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no more")
    (tmp_path / "broken.jsonl.gz").write_bytes(gzip.compress(b'{"body": "lost"}' * 90)[:40])
    (tmp_path / "latin.csv").write_bytes("text\ncafé\n".encode("cp1252"))
    (tmp_path / "rows2.jsonl.gz").write_bytes(gzip.compress(b'{"body": "Zipped"}\n'))
    pq.write_table(pa.table({"title": ["T"], "text": ["From parquet"]}), tmp_path / "t.parquet")
    found = read(tmp_path)
    texts = {one.title: one.text for one in found if isinstance(one, Document)}
    assert texts["A heading"] == "# A heading\n\nText with  trailing\n\nblanks."
    assert texts["A page"] == "First\n\none\ntwo & three" and texts["T"] == "From parquet"
    assert "Ein Café in Köln, déjà vu." in texts.values() and "Schöne Grüße" in texts.values()
    assert texts["src/tool.py"] == "def tool() -> None:\n    ..." and texts["r1"] == "A row's text"
    assert "Zipped" in texts.values() and "never read" not in texts.values()
    lost = Counter(one.reason for one in found if isinstance(one, Skipped))
    assert lost == {"empty": 1, "binary": 1, "unreadable": 4}


def test_rows_without_a_text_are_read_as_outlines_and_fields_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "profiles.jsonl"
    path.write_text(
        json.dumps({"code": "xy", "data": {"People": {"Population": {"text": "<p>12 <b>million</b></p>"}}}}) + "\n"
    )
    (one,) = read(path)
    assert (
        isinstance(one, Document) and one.title == "xy" and "## People" in one.text and "text: 12 million" in one.text
    )
    (named,) = read(path, text="code", title="code")
    assert isinstance(named, Document) and named.text == "xy"
    assert outline({"a": [1, None, "x"], "b": {}}) == "# a\n\n1\nx"
    with pytest.raises(ConfigError, match="doesn't exist"):
        read(tmp_path / "missing")


def test_decoding_and_pages() -> None:
    assert (
        decode(b"\xef\xbb\xbfabc") == "abc"
        and decode(b"a\0b") is None
        and decode(bytes(range(1, 32)) * 9 + b"\xff") is None
    )
    assert page_text("a <![odd one]> b").text == "a  b" and page_text("x &#99999999999; <b").text.startswith("x")
    assert page_text("<p>a<br>b<p>c<table><tr><td>1<td>2</table>").text.split() == ["a", "b", "c", "1", "2"]


@pytest.mark.parametrize("text", ["x" * 200_000, "word " * 40_000, "A sentence here. " * 9000, "line\n" * 30_000])
def test_a_giant_line_is_cut(text: str, counter: TokenCounter) -> None:
    parts = split(text, 8192, counter)
    assert len(parts) > 1 and all(part.tokens <= 8192 * 1.3 for part in parts)
    assert "".join("".join(part.text.split()) for part in parts) == "".join(text.split())
    (whole,) = counter.pieces([text])
    cut = first_tokens(whole, 3000, counter)
    assert 2950 <= cut.tokens <= 3000 and text.startswith(cut.text)


# --- the library ------------------------------------------------------------------------------------------------------


def test_what_stays_out_is_counted(tmp_path: Path, counter: TokenCounter) -> None:
    rows = [document(subject, number) for number in range(12) for subject in _SUBJECTS]
    near = dict(rows[0], text=rows[0]["text"].replace("section 0", "chapter 0"))
    german = {"text": "Der Hafen ist im Winter still, und die Kräne stehen, weil niemand auf die Fähre wartet. " * 9}
    extra = [rows[0], near, {"text": "short"}, german, {"text": ""}]
    path = tmp_path / "c.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *extra]))
    builder, _ = built(tmp_path, counter, 4096, sources=[str(path)], languages=["en"])
    assert builder.lost == {"duplicate": 1, "near_duplicate": 1, "too_short": 1, "language": 1, "empty": 1}
    assert builder.documents == len(rows)


def test_topics_are_the_subjects(tmp_path: Path, counter: TokenCounter, corpus: Path) -> None:
    _, path = built(tmp_path, counter, 4096, sources=[str(corpus)])
    with open_shelf(str(path)) as shelf:
        assert len(shelf.topics) >= 4
        for topic in shelf.topics:
            subjects = Counter(title.split()[1].rstrip(",") for title, _ in shelf.read(shelf.parts[topic.number]))
            assert subjects.most_common(1)[0][1] == sum(subjects.values()), (topic.terms, subjects)
            own = {*_SUBJECTS[subjects.most_common(1)[0][0]].split(), *_SUBJECTS}
            assert len(own & set(topic.terms)) >= 4 and len(topic.near) == len(shelf.topics) - 1
        assert sum(topic.tokens for topic in shelf.topics) == sum(
            part.tokens for parts in shelf.parts.values() for part in parts
        )


@pytest.mark.parametrize("length", [2048, 4096, 12_000])
def test_contexts_have_their_length_and_keep_documents_apart(
    tmp_path: Path, counter: TokenCounter, corpus: Path, length: int
) -> None:
    _, path = built(tmp_path, counter, 12_000, sources=[str(corpus)])
    with open_shelf(str(path)) as shelf:
        bundles = [shelf.bundle(0, length, counter, Random(number)) for number in range(3)]
    for bundle in bundles:
        assert 0.99 * length <= counter.count(bundle.text) <= length + 2
        assert abs(counter.count(bundle.text) - bundle.tokens) <= len(bundle.documents) // 4 + 2
        for number, placed in enumerate(bundle.documents, start=1):
            assert bundle.text[placed.start :].startswith(f"# Document {number}: {placed.title}\n\n")
            assert abs(counter.count(bundle.text[: placed.start]) - placed.offset) <= 3
        assert len({placed.title for placed in bundle.documents}) == len(bundle.documents)
    assert bundles[0].text != bundles[1].text and [one.title for one in bundles[0].documents] != [
        one.title for one in bundles[1].documents
    ]


def test_too_few_documents_are_told_with_what_is_missing(tmp_path: Path, counter: TokenCounter, corpus: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"120 documents with [\d,]+ tokens are too few for a context of 524,288.*add [\d,]+ tokens"
    ):
        built(tmp_path, counter, 524_288, sources=[str(corpus)])


def test_documents_longer_than_a_part_are_parts(tmp_path: Path, counter: TokenCounter) -> None:
    path = tmp_path / "long.txt"
    path.write_text("\n\n".join(document("radios", number)["text"] for number in range(120)))
    _, library = built(tmp_path, counter, 20_000, sources=[str(path)])
    with open_shelf(str(library)) as shelf:
        titles = [title for title, _ in shelf.read([part for parts in shelf.parts.values() for part in parts])]
        assert len(titles) > 1 and all("(part " in title for title in titles)
        assert all(part.tokens <= 1.3 * LONGEST_PART for parts in shelf.parts.values() for part in parts)


# --- questions --------------------------------------------------------------------------------------------------------


def bundle_of(tmp_path: Path, counter: TokenCounter, corpus: Path, length: int = 6000) -> Bundle:
    _, path = built(tmp_path, counter, length, sources=[str(corpus)])
    shelf = Shelf(path)
    bundle = shelf.bundle(0, length, counter, Random(0))
    shelf.close()
    return bundle


def test_sections_come_from_different_documents_and_from_the_depth(
    tmp_path: Path, counter: TokenCounter, corpus: Path
) -> None:
    bundle = bundle_of(tmp_path, counter, corpus)
    bands: dict[Depth, tuple[float, float]] = {"start": (0, 1 / 3), "middle": (1 / 3, 2 / 3), "end": (2 / 3, 1)}
    for depth, (low, high) in bands.items():
        sections = choose_sections(bundle, 4, depth, Random(1))
        assert all(low <= section.start / len(bundle.text) <= high for section in sections)
        assert len({section.document for section in sections}) >= min(4, 2)
    with pytest.raises(Reject, match="too_few_sections"):
        choose_sections(bundle, 10_000, "even", Random(1))


def test_quotes_are_found_over_line_breaks() -> None:
    assert find_quote("the second line of it", "x the second\n  line of it; the second line of it") == [2, 27]
    assert find_quote("“the second line”", "the second line") == [0]
    assert find_quote("line", "a line") == [] and find_quote("never written down", "a line") == []


def written(bundle: Bundle, **changes: Any) -> Written:
    sections = choose_sections(bundle, 4, "even", Random(3))
    hops = [Hop(quote=bundle.text[one.start : one.start + 60], says="a number") for one in sections]
    return Written(
        **{"question": "What is the sum of all four?", "format": "Give a number.", "answer": "4711", "hops": hops}
        | changes
    )


def test_each_fault_of_a_question_has_its_reason(tmp_path: Path, counter: TokenCounter, corpus: Path) -> None:
    bundle, config = bundle_of(tmp_path, counter, corpus), Documents()
    good, shown = written(bundle), choose_sections(bundle, 4, "even", Random(3))
    found = check_question(good, bundle, shown, config)
    assert len(found) == 4 and len({hop.document for hop in found}) >= 2
    for hop, said in zip(found, good.hops, strict=True):
        assert abs(counter.count(bundle.text[: bundle.text.index(said.quote)]) - hop.token) <= 0.2 * counter.count(
            bundle.text[:3000]
        )
    inside = bundle.sections(1)[1]
    one = bundle.text[inside.start : inside.end]
    same_paragraph = [*good.hops[:3], Hop(quote=one[:40], says=""), Hop(quote=one[60:100], says="")]
    first = [section for section in bundle.sections(160) if section.document == 0][:4]
    one_document = [Hop(quote=bundle.text[section.start : section.start + 80], says="") for section in first]
    faults: dict[str, dict[str, Any]] = {
        "no_question": {"question": "Add all four."}, "no_format": {"format": " "},
        "hop_count": {"hops": good.hops[:3]},
        "holds_answer": {"question": "Is it 4711?"},
        "quote_missing": {"hops": [*good.hops[:3], Hop(quote="words that stand nowhere at all", says="")]},
        "same_section": {"hops": same_paragraph}, "one_document": {"hops": one_document},
    }  # fmt: skip
    for reason, changes in faults.items():
        with pytest.raises(Reject) as caught:
            check_question(written(bundle, **changes), bundle, shown, config)
        assert (caught.value.stage, caught.value.reason) == ("question", reason), reason


def teacher(
    answers: Callable[[int], str],
    closed: str = "UNKNOWN",
    change: Callable[[dict[str, Any]], None] = lambda asked: None,
) -> ScriptedModel:
    """A writer who quotes the excerpts that it is shown, and a solver that answers `answers(n)` in its n-th call."""
    calls = Counter[str]()

    def script(role: str, request: dict[str, Any]) -> Any:
        prompt = request["messages"][-1]["content"]
        calls[role] += 1
        if role == "writer":
            excerpts = [part.split("\n", 1)[1].strip() for part in prompt.split("\n[")[1:]]
            excerpts[-1] = excerpts[-1].split("\n\nWrite one question")[0]
            asked: dict[str, Any] = {
                "question": "How many parts do the sections have together?", "format": "End with `Answer: NUMBER`.",
                "answer": "2500", "hops": [{"quote": text[:70], "says": "a number of parts"} for text in excerpts],
            }  # fmt: skip
            change(asked)
            return asked
        if role == "closed_book":
            return closed
        if role == "judge":
            return {"reason": "compared", "same": False}
        n = calls["solver"]
        return Message(role="assistant", content=answers(n), reasoning_content="I add them. " * (1 + n % 5))

    return ScriptedModel(script)


def config_of(corpus: Path, **documents: Any) -> dict[str, Any]:
    roles = ("writer", "solver", "judge", "closed_book")
    return {
        "generator": "long_context", "tasks": 4,
        "models": {role: {"endpoint": "http://scripted.invalid/v1", "model": role} for role in roles},
        "params": {"modes": ["documents"], "lengths": [4096], "documents": {"sources": [str(corpus)], **documents}},
    }  # fmt: skip


def test_a_majority_gives_a_record_with_its_shortest_trace(tmp_path: Path, corpus: Path, counter: TokenCounter) -> None:
    model = teacher(lambda n: "Answer: 2500" if n % 8 < 6 else f"Answer: {n}")
    summary = run_scripted(config_of(corpus), tmp_path / "run", model)
    assert summary["accepted"] == 4 and summary["by_category"] == {"documents/multi_document": 4}
    for row in rows_of(tmp_path / "run"):
        metadata: Any = json.loads(row["metadata"])
        asked, answer = row["messages"]
        assert answer["content"] == "Answer: 2500" and answer["reasoning_content"] == "I add them. "
        assert asked["content"].endswith("How many parts do the sections have together? End with `Answer: NUMBER`.")
        assert abs(counter.count(asked["content"]) - 4096) <= 120 and asked["content"].count("# Document 1:") == 1
        assert 4 <= metadata["hops"] == len(metadata["evidence"]) <= 7 and metadata["agreement"] >= 0.5
        for hop, token in zip(metadata["evidence"], metadata["context"]["evidence"], strict=True):
            assert hop["quote"] in asked["content"] and hop["token"] == token < metadata["context"]["tokens"]
    solver_prompts: list[Any] = [request["messages"] for role, request in model.calls if role == "solver"]
    assert all(len(messages) == 1 for messages in solver_prompts) and len(solver_prompts) == 32
    assert set(summary["evidence"]) == {"4K"} and sum(summary["evidence"]["4K"]) >= 16
    assert "Evidence by depth and length" in (tmp_path / "run" / "report.html").read_text()


def _one_hop_less(asked: dict[str, Any]) -> None:
    asked["hops"] = asked["hops"][:2]


def _same_paragraph(asked: dict[str, Any]) -> None:
    quote = asked["hops"][0]["quote"]
    asked["hops"] = [*asked["hops"][:3], {"quote": quote[:30], "says": "again"}]


def _invented(asked: dict[str, Any]) -> None:
    asked["hops"][1]["quote"] = "no document has these words in it"


@pytest.mark.parametrize(
    ("reason", "model"),
    [
        ("question/hop_count", teacher(lambda n: "Answer: 1", change=_one_hop_less)),
        ("question/same_section", teacher(lambda n: "Answer: 1", change=_same_paragraph)),
        ("question/quote_missing", teacher(lambda n: "Answer: 1", change=_invented)),
        ("closed_book/answered", teacher(lambda n: "Answer: 2500", closed="It must be so.\nAnswer: 2,500")),
        ("closed_book/answered", teacher(lambda n: "Answer: 31", closed="Answer: 31")),
        ("vote/no_majority", teacher(lambda n: f"Answer: {n}")),
        ("solver/no_answer", teacher(lambda n: "")),
    ],
)  # fmt: skip
def test_every_rejection(tmp_path: Path, corpus: Path, reason: str, model: ScriptedModel) -> None:
    summary = run_scripted(config_of(corpus), tmp_path / "run", model)
    assert summary["by_reason"] == {reason: 4}
    if reason.startswith("question"):
        assert model.count_by_role()["solver"] == 0 and model.count_by_role()["closed_book"] == 0


def test_a_majority_needs_its_share_of_all_attempts(tmp_path: Path, corpus: Path) -> None:
    four_of_eight = teacher(lambda n: "Answer: 7" if n % 2 else f"Answer: {n}000")
    assert run_scripted(config_of(corpus, min_majority=0.5), tmp_path / "a", four_of_eight)["accepted"] == 4
    again = teacher(lambda n: "Answer: 7" if n % 2 else f"Answer: {n}000")
    assert run_scripted(config_of(corpus, min_majority=0.6), tmp_path / "b", again)["by_reason"] == {
        "vote/no_majority": 4
    }


def test_the_contract_holds_and_the_library_is_made_once(tmp_path: Path, corpus: Path) -> None:
    check_generator(config_of(corpus), tmp_path, teacher(lambda n: "Answer: 2500"))


def test_an_embedder_may_give_the_topics(tmp_path: Path, corpus: Path) -> None:
    config = config_of(corpus, embedder="embedder")
    config["models"]["embedder"] = {"endpoint": "http://scripted.invalid/v1", "model": "vectors"}
    model = teacher(lambda n: "Answer: 2500")
    assert run_scripted(config, tmp_path / "run", model)["accepted"] == 4
    assert model.count_by_role()["embedder"] >= 1


@pytest.mark.shared
def test_real_documents_have_topics_that_make_sense(tmp_path: Path, counter: TokenCounter, shared_data: Path) -> None:
    source = shared_data / "long_context" / "sqlite_docs.jsonl.gz"
    builder, path = built(tmp_path, counter, 32_768, sources=[str(source)])
    assert builder.documents >= 140
    with open_shelf(str(path)) as shelf:
        for topic in shelf.topics:
            print(f"{len(shelf.parts[topic.number]):4} parts {topic.tokens:8,} tokens  {', '.join(topic.terms)}")
        by_terms = [set(topic.terms) for topic in shelf.topics]
        assert any({"rollback", "journal"} <= terms or {"journal", "transaction"} <= terms for terms in by_terms)
        assert any({"clause", "expression"} <= terms or {"clause", "operator"} <= terms for terms in by_terms)
        bundle = shelf.bundle(0, 32_768, counter, Random(0))
        assert abs(counter.count(bundle.text) - 32_768) <= 327 and len(bundle.documents) > 2
        assert len(choose_sections(bundle, 7, "end", Random(0))) == 7
