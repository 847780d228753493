"""Filings as markdown: the Items, the tables with their figures, the facts; and files that are no good filings."""

import gzip
import re
from collections import Counter
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest

from generators.financial_qa.companyfacts import read_companyfacts
from generators.financial_qa.facts import Fact, Facts
from generators.financial_qa.filings.blocks import Document, read_document
from generators.financial_qa.filings.html import decoded, parse
from generators.financial_qa.filings.read import LARGEST, Filing, parse_filing, read_filing
from generators.financial_qa.filings.sections import listed_heads
from generators.financial_qa.library import open_library
from generators.financial_qa.metrics import find, metrics
from generators.financial_qa.universe import read_constituents
from gristmill import Reject
from gristmill.errors import ConfigError

BUNDLED = Path(__file__).parents[1] / "generators/financial_qa/companies"


def real(shared: Path) -> list[Path]:
    found = sorted((shared / "finance/filings").glob("*.html.gz"))
    assert len(found) == 17
    return found


@cache
def filing_of(path: Path) -> Filing:
    return read_filing(path)


@cache
def document(path: Path) -> tuple[Any, Document]:
    root = parse(gzip.decompress(path.read_bytes()), path.name)
    return root, read_document(root)


def table_of(rows: str) -> str:
    root = parse(f"<html><body><table>{rows}</table></body></html>".encode(), "test")
    return "\n".join(block.text for block in read_document(root).blocks)


# --- real filings ----------------------------------------------------------------------------------------------------


@pytest.mark.shared
def test_every_item_of_real_filings_is_found(shared_data: Path) -> None:
    for path in real(shared_data):
        filing, (_, read) = filing_of(path), document(path)
        listed = {head.item.rpartition(".")[2] for head in listed_heads(read, filing.form.startswith("10-Q"))}
        found = {item.rpartition(".")[2] for item in filing.sections}
        assert len(listed) >= 6 and not listed - found, (path.name, listed - found)
        wanted = ("1A", "7", "8") if filing.form == "10-K" else ("I.1", "I.2", "I.4", "II.1", "II.1A")
        assert set(wanted) <= set(filing.sections), path.name
        risks, discussion = ("1A", "7") if filing.form == "10-K" else ("II.1", "I.2")
        texts = {name: filing.markdown(filing.sections[name]) for name in (risks, discussion)}
        assert len(texts[discussion]) > 10_000 and "results" in texts[discussion].lower(), path.name
        if filing.form == "10-K":
            assert len(texts[risks]) > 30_000, path.name
        starts = [places.start for places in filing.sections.values()]
        assert starts == sorted(starts), path.name


@pytest.mark.shared
def test_the_figures_of_real_tables_are_kept_with_their_signs(shared_data: Path) -> None:
    checked = negative = 0
    for path in real(shared_data):
        root, read = document(path)
        for element in root.iter("ix:nonfraction"):
            text = " ".join("".join(element.itertext()).split())
            if element not in read.places:
                continue  # in the header that nobody sees
            block = read.blocks[read.places[element].block]
            assert text in block.text, (path.name, text, block.text[:200])
            cell = next(element.iterancestors("td"), None)
            if cell is not None and block.kind == "table":
                checked += 1
                if re.fullmatch(rf"\s*\$?\s*\(\s*\$?\s*{re.escape(text)}\s*\)?\s*", "".join(cell.itertext())):
                    negative += 1
                    assert re.search(rf"\(\s*\$?\s*{re.escape(text)}\s*\)", block.text), (path.name, text)
    assert checked > 15_000 and negative > 1000


@pytest.mark.shared
def test_real_figures_stand_in_the_row_and_under_the_period_of_their_fact(shared_data: Path) -> None:
    """The income statement's figures: each in the column whose heading ends with its period's year."""
    right = wrong = 0
    for path in real(shared_data):
        filing = filing_of(path)
        if filing.form != "10-K":
            continue
        for key in ("revenue", "net_income", "operating_income", "income_tax", "assets", "cash"):
            for offset in (0, -1):
                fact = find(filing, metrics()[key], offset)
                if fact is None or fact.block < 0 or filing.blocks[fact.block].kind != "table":
                    continue
                head, _, *rows = filing.blocks[fact.block].text.split("\n")
                digits = f"{abs(fact.value).scaleb(fact.decimals or 0):,.0f}"
                row = next(row for row in rows if row.startswith(f"| {fact.label}") and digits in row)
                column = next(n for n, cell in enumerate(row.split(" | ")) if digits in cell)
                heading = head.split(" | ")[column]
                right += str(fact.end.year) in heading
                wrong += str(fact.end.year) not in heading
    assert right > 60 and wrong == 0, (right, wrong)


@pytest.mark.shared
def test_real_pages_leave_no_furniture(shared_data: Path) -> None:
    for path in real(shared_data):
        texts = Counter(block.text.lower() for block in filing_of(path).blocks if block.kind != "table")
        assert texts["table of contents"] <= 2, path.name
        assert not any(text.isdecimal() and len(text) < 4 and count > 2 for text, count in texts.items()), path.name


@pytest.mark.shared
def test_fiscal_years_are_named_as_the_companies_name_them(shared_data: Path) -> None:
    library = open_library([shared_data / "finance/companyfacts"], {})
    for path in real(shared_data):
        library.add(filing_of(path))
    assert not library.faults
    named = {(key.cik, key.year): filing.period_end for key, filing in library.filings.items() if key.form == "10-K"}
    assert named["320193", 2024] == date(2024, 9, 28) and named["320193", 2019] == date(2019, 9, 28)
    assert named["1045810", 2025] == date(2025, 1, 26) and named["1045810", 2020] == date(2020, 1, 26)
    assert named["104169", 2025] == date(2025, 1, 31) and named["21344", 2024] == date(2024, 12, 31)


@pytest.mark.shared
def test_company_facts_and_filings_agree(shared_data: Path) -> None:
    library = open_library([shared_data / "finance/companyfacts"], {})
    told = {key: filing for key, filing in library.filings.items() if key.cik == "320193"}
    filing = filing_of(shared_data / "finance/filings/aapl-10-k-2024-11-01.html.gz")
    year = next(one for key, one in told.items() if key.year == 2023)
    for key in ("revenue", "net_income", "assets", "operating_cash", "research"):
        one, other = find(filing, metrics()[key], -1), find(year, metrics()[key], 0)
        if one and other:
            assert one.value == other.value, key


@pytest.mark.shared
def test_the_constituents_have_sub_industries(shared_data: Path) -> None:
    universe = read_constituents(shared_data / "finance/constituents.csv")
    companies = universe.companies
    assert not universe.faults
    assert len(companies) >= 495 and companies["320193"].symbol == "AAPL"
    assert all(company.industry for company in companies.values())


# --- tables ----------------------------------------------------------------------------------------------------------


def test_signs_join_their_figures_and_headings_spread() -> None:
    text = table_of(
        "<tr><td></td><td colspan=3>2024</td><td></td><td colspan=3>2023</td></tr>"
        "<tr><td>(in millions)</td></tr>"
        "<tr><td>Net loss | adjusted</td><td>$</td><td>(1,234</td><td>)</td><td></td><td>$</td><td>56.7</td></tr>"
        "<tr><td>Margin</td><td colspan=2>(4.5</td><td>)%</td><td></td><td colspan=2>—</td><td>%</td></tr>"
    )
    assert text.split("\n") == [
        "| (in millions) | 2024 | 2023 |",
        "| --- | --- | --- |",
        "| Net loss / adjusted | $(1,234) | $56.7 |",
        "| Margin | (4.5)% | —% |",
    ]


def test_a_heading_over_two_columns_is_told_in_both() -> None:
    text = table_of(
        "<tr><td></td><td colspan=2>Three months</td><td colspan=2>Six months</td></tr>"
        "<tr><td></td><td>2024</td><td>2023</td><td>2024</td><td>2023</td></tr>"
        "<tr><td>Sales</td><td>1</td><td>2</td><td>3</td><td>4</td></tr>"
    )
    assert text.split("\n")[0] == "|  | Three months 2024 | Three months 2023 | Six months 2024 | Six months 2023 |"


def test_rowspans_and_absurd_spans_do_no_harm() -> None:
    text = table_of(
        "<tr><td rowspan=2>A</td><td colspan=99999999>1</td></tr><tr><td>2</td></tr>"
        "<tr><td colspan=x>B</td><td>3</td></tr>"
    )
    assert "1" in text and "2" in text and "3" in text


def test_layout_tables_are_text() -> None:
    assert table_of("<tr><td>•</td><td>We may fail.</td></tr>") == "- We may fail."


# --- facts -----------------------------------------------------------------------------------------------------------


def fact(value: str, filed: str = "2024-02-01", decimals: int | None = -6, end: date = date(2023, 12, 31)) -> Fact:
    return Fact("us-gaap:Revenues", Decimal(value), "USD", date(2023, 1, 1), end, (), decimals, filed)


def test_of_restated_values_the_latest_counts_and_the_others_stay() -> None:
    (kept,) = Facts([fact("100000000"), fact("97000000", filed="2025-02-01"), fact("100000000", filed="2024-05-01")])
    assert kept.value == Decimal("97000000") and kept.earlier == (Decimal("100000000"),)


def test_one_fact_in_two_precisions_is_one_and_a_contradiction_is_none() -> None:
    (kept,) = Facts([fact("1234000000"), fact("1200000000", decimals=-8)])
    assert kept.value == Decimal("1234000000")
    both = Facts([fact("1234000000"), fact("1243000000")])
    assert len(both) == 0 and len(both.conflicts) == 1


def test_bundled_filings_tie() -> None:
    library = open_library([BUNDLED], read_constituents(BUNDLED / "constituents.csv").companies)
    assert len(library.filings) == 12 and not library.faults
    assert len({company.industry for company in library.companies.values()}) == 2
    for key, filing in library.filings.items():
        value = {name: found.value for name, metric in metrics().items() if (found := find(filing, metric, 0))}
        assert value["assets"] == value["liabilities"] + value["equity"], key
        assert value["gross_profit"] == value["revenue"] - value["cost_of_revenue"], key
        assert value["net_income"] == value["pretax_income"] - value["income_tax"], key
        if key.form == "10-K":
            before = find(filing, metrics()["cash"], -1)
            moved = value["operating_cash"] + value["investing_cash"] + value["financing_cash"]
            assert before and value["cash"] - before.value == moved, key


def test_later_filings_that_restate_are_known() -> None:
    library = open_library([BUNDLED], read_constituents(BUNDLED / "constituents.csv").companies)
    key = next(key for key in library.filings if key[:3] == ("9900002", "10-K", 2022))
    restated = library.restated(key, library.filings[key].facts)
    assert sum(map(bool, restated.values())) == 2  # research and SG&A of fiscal 2022, reclassified in fiscal 2024


# --- bad input -------------------------------------------------------------------------------------------------------


def reason(raw: bytes) -> str:
    with pytest.raises(Reject) as caught:
        parse_filing(raw, "bad.html")
    return caught.value.reason


def test_files_that_are_no_filings_have_named_reasons(tmp_path: Path) -> None:
    page = b"<html><body>%s</body></html>"
    assert reason(b"") == reason(b"  \n ") == "empty"
    assert reason(page % (b"<img src='scan1.jpg'/>" * 50)) == "no_text"
    assert reason(page % (b"<p>" + b"Words of a letter to our shareholders. " * 200 + b"</p>")) == "no_items"
    assert reason(page % (b"<p><b>Item 7. Discussion</b></p><p>" + b"More words. " * 300 + b"</p>")) == "no_period"
    assert reason(bytes(range(256)) * 40) in ("empty", "no_text", "unreadable", "no_items")
    broken = tmp_path / "cut.html.gz"
    broken.write_bytes(gzip.compress(b"<html>" * 1000)[:-40])
    with pytest.raises(Reject, match="unreadable"):
        read_filing(broken)


def test_a_file_of_a_hundred_megabytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.html.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(LARGEST // 10**6 + 1):
            file.write(b"<p>x</p>" * 125_000)
    with pytest.raises(Reject, match="too_large"):
        read_filing(path)


def test_deep_nesting_and_unclosed_tags_are_read() -> None:
    filing = (BUNDLED / "hcrk-10-k-2024.html").read_text(encoding="utf-8")
    sections = list(parse_filing(filing.encode(), "plain").sections)
    nested = filing.replace("<body>", "<body>" + "<div>" * 200)
    assert list(parse_filing(nested.encode(), "nested").sections) == sections
    assert reason(filing.replace("<body>", "<body>" + "<div>" * 5000).encode()) == "no_text"  # libxml2 gives up
    unclosed = filing.replace("</p>", "").replace("</tr>", "")
    assert "7" in parse_filing(unclosed.encode(), "unclosed").sections


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16", "utf-8-sig"])
def test_encodings_are_found_whatever_is_declared(encoding: str) -> None:
    text = "<?xml version='1.0' encoding='ASCII'?><html><body>Shareholders’ equity — 5</body></html>"
    assert "Shareholders’ equity — 5" in decoded(text.encode(encoding))


def test_contexts_that_are_broken_leave_their_facts_out() -> None:
    raw = (BUNDLED / "hcrk-10-k-2024.html").read_text(encoding="utf-8")
    whole = parse_filing(raw.encode(), "whole")
    damaged = raw.replace("<xbrli:endDate>2024-12-28</xbrli:endDate>", "<xbrli:endDate>soon</xbrli:endDate>")
    filing = parse_filing(damaged.encode(), "damaged")
    assert 0 < len(filing.facts) < len(whole.facts)
    assert find(filing, metrics()["revenue"], 0) is None and find(filing, metrics()["assets"], 0) is not None


def test_overlapping_contexts_are_told_apart_by_their_days() -> None:
    """A year to date and a quarter end on the same day: the quarter is the 10-Q's period."""
    filing = read_filing(BUNDLED / "hcrk-10-q-2024.html")
    quarter = find(filing, metrics()["revenue"], 0)
    assert quarter is not None
    longer = Fact(quarter.concept, quarter.value * 2, "USD", date(2023, 12, 31), quarter.end, (), -3, quarter.filed)
    both = Filing(**{name: getattr(filing, name) for name in ("company", "cik", "form", "fiscal_year", "fiscal_period",
                  "period_end")}, facts=Facts([longer, quarter]))  # fmt: skip
    assert find(both, metrics()["revenue"], 0) == quarter


def test_company_facts_that_are_none_are_named() -> None:
    bodies: list[Any] = [{}, [], {"facts": 3}]
    for body in bodies:
        with pytest.raises(Reject, match="unreadable"):
            read_companyfacts(body, "x.json")
    rows = [{"end": "2023-12-31", "val": "many"}, {"end": "then", "val": 3}, {"val": 1}]
    with pytest.raises(Reject, match="no_facts"):
        read_companyfacts({"cik": 1, "facts": {"us-gaap": {"Assets": {"units": {"USD": rows}}}}}, "x.json")


def test_a_library_names_its_bad_files_and_reads_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_bytes((BUNDLED / "hcrk-10-k-2024.html").read_bytes())
    (tmp_path / "b.html").write_bytes(b"<html></html>")
    (tmp_path / "c.json").write_bytes(b"{")
    (tmp_path / "d.json").write_bytes(orjson.dumps({"name": "package"}))
    (tmp_path / "notes.txt").write_text("nothing")
    library = open_library([tmp_path], {})
    assert len(library.filings) == 1
    assert [(name, fault.reason) for name, fault in library.faults] == [
        ("b.html", "no_text"), ("c.json", "unreadable"), ("d.json", "unreadable"),
    ]  # fmt: skip


def test_folders_and_tables_that_are_not_there_are_config_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"params\.filings"):
        open_library([tmp_path / "none"], {})
    with pytest.raises(ConfigError, match=r"params\.filings"):
        open_library([tmp_path], {})
    table = tmp_path / "table.csv"
    table.write_text("Symbol,Security,GICS Sub-Industry,CIK\nA,Acme,Tools,0001\nB,Bolt,Tools\nC,Cog,Tools,none\n")
    universe = read_constituents(table)
    assert list(universe.companies) == ["1"]
    assert universe.faults == [
        "table.csv line:3: has not as many fields as the header", "table.csv line:4: Cog has no CIK",
    ]  # fmt: skip
    table.write_text("Symbol,Security\nA,B\n")
    with pytest.raises(ConfigError, match=r"params\.universe"):
        read_constituents(table)
