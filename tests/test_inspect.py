"""`gristmill inspect`: what its pages show, what they refuse, and how they behave in a real browser."""

import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blends.build import build
from gristmill.config import validate
from gristmill.testing import ScriptedModel
from gristmill.testing.scripted import run_scripted
from schemas import JsonObject
from schemas.blend_config import BlendConfig
from tests.blending import blend_of_all_generators
from tests.browser import Tab, chromium, new_tab
from tests.runs import STEPS, TURNS

EVIL = '<script>document.title = "owned"</script><img src=x onerror="document.title=\'owned\'">{{ 7 * 7 }}</textarea>'
ROWS = 130


def script(role: str, request: JsonObject) -> Any:
    if "response_format" in request:
        return {"score": 1 + sum(map(ord, str(request["messages"]))) % 5}
    number = int(re.findall(r"fact (\d+)", str(request["messages"]))[0])
    return f"Why is it {number}? {EVIL if number % 10 == 0 else ''}\n```sql\nSELECT {number} FROM t\n```"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inspected")
    seeds = folder / "seeds.jsonl"
    seeds.write_text("".join(json.dumps({"text": f"fact {n}", "kind": "abc"[n % 3]}) + "\n" for n in range(ROWS)))
    params = {"steps": STEPS, "messages": TURNS, "keep_if": "verdict.score >= 3", "category": "{{ kind }}"}
    judges = [{"name": "refusal", "mode": "shadow"}]
    config = {"generator": "template", "seeds": str(seeds), "params": params, "judges": judges}
    run_scripted(config, folder / "run", ScriptedModel(script))
    return folder / "run"


@pytest.fixture(scope="module")
def blend(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blended")
    chat = folder / "chat.jsonl"
    turns = [{"from": "human", "value": "Tell me about otters."}, {"from": "gpt", "value": "They swim."}]
    chat.write_text(json.dumps({"conversations": turns}) + "\n")
    sources = [{"name": "made", "path": str(run), "weight": 9}, {"name": "chat", "path": str(chat), "weight": 1}]
    config = {"out": str(folder / "out"), "sources": sources, "total": 10, "unit": "rows"}
    build(validate(config, BlendConfig, "test"))
    return folder / "out"


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of `gristmill inspect` over a folder."""
    command = [sys.executable, "-m", "gristmill.cli", "inspect", str(folder), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        told = process.stdout.readline()
        yield re.findall(r"http://[\d.:]+", told)[0]
    finally:
        process.terminate()
        assert process.wait(10) in (0, -15, 130)


@pytest.fixture(scope="module")
def page_of_run(run: Path) -> Iterator[str]:
    with serving(run) as url:
        yield url


def get(url: str, status: int = 200, data: bytes | None = None, **headers: str) -> str:
    try:
        with urlopen(Request(url, data, headers)) as response:
            assert response.status == status
            return str(response.read().decode())
    except HTTPError as error:
        assert error.code == status, error.read()
        return error.read().decode()


def ids(page: str) -> list[str]:
    return re.findall(r"/row/\w+/([0-9a-f]{32})", page)


def test_the_overview_counts_what_there_is(run: Path, page_of_run: str) -> None:
    page = get(page_of_run)
    summary = json.loads((run / "summary.json").read_text())
    assert f"<b>{summary['records']}</b> records" in page and f"<b>{summary['rejected']}</b> rejects" in page
    assert "Funnel" in page and "keep_if / not_kept" in page and "refusal" in page
    assert summary["records"] > 50 and summary["rejected"] > 10


def test_tables_are_filtered_searched_and_paged(run: Path, page_of_run: str) -> None:
    records = pq.read_table(run / "records").to_pylist()
    first = ids(get(f"{page_of_run}/rows/records"))
    second = ids(get(f"{page_of_run}/rows/records?start=50"))
    assert first + second == [row["uuid"] for row in records][: len(first + second)] and len(first) == 50
    wanted = [row["uuid"] for row in records if row["category"] == "b"]
    assert ids(get(f"{page_of_run}/rows/records?category=b"))[:50] == wanted[:50]
    searched = [row["uuid"] for row in records if "is it 7?" in row["messages"][0]["content"]]
    assert ids(get(f"{page_of_run}/rows/records?text=IS+IT+7%3F")) == searched
    assert "Nothing is left" in get(f"{page_of_run}/rows/records?text=zebra%27%25")
    passed = sum(any(v["name"] == "refusal" and v["passed"] for v in row["verdicts"]) for row in records)
    assert f"<b>{passed}</b> rows" in get(f"{page_of_run}/rows/records?verdict=refusal+passed")


def test_a_row_shows_its_turns_verdicts_mask_and_calls(run: Path, page_of_run: str) -> None:
    row = pq.read_table(run / "records").to_pylist()[1]
    page = get(f"{page_of_run}/row/records/{row['uuid']}?place=1")
    assert '<article class="turn user">' in page and '<article class="turn assistant">' in page
    assert '<span class="k">SELECT</span>' in page  # pygments' keyword
    assert "refusal" in page and "Calls of its task" in page and page.count("<tr title=") == 2
    _, _, sequence = page.partition('class="sequence"')
    spans = re.findall(r'<span class="(supervised|read|control)">([^<]*)</span>', sequence)
    assert ("supervised", row["messages"][1]["content"]) in spans and ("control", "&lt;|im_start|&gt;") in spans
    assert not any(kind == "supervised" and "Why is it" in text for kind, text in spans)
    before, after = re.findall(r'rel="(?:prev|next)" href="/row/records/([0-9a-f]+)', page)
    rows = pq.read_table(run / "records").to_pylist()
    assert (before, after) == (rows[0]["uuid"], rows[2]["uuid"])


def test_exports_hold_what_the_filter_leaves(run: Path, page_of_run: str, tmp_path: Path) -> None:
    wanted = [row for row in pq.read_table(run / "records").to_pylist() if row["category"] == "c"]
    lines = get(f"{page_of_run}/export/records.jsonl?category=c").splitlines()
    assert [json.loads(line) for line in lines] == wanted
    (tmp_path / "x.parquet").write_bytes(urlopen(f"{page_of_run}/export/records.parquet?category=c").read())
    assert pq.read_table(tmp_path / "x.parquet").to_pylist() == wanted


def test_a_record_full_of_markup_is_shown_and_never_obeyed(run: Path, page_of_run: str) -> None:
    row = next(row for row in pq.read_table(run / "records").to_pylist() if EVIL in row["messages"][0]["content"])
    for page in (get(f"{page_of_run}/row/records/{row['uuid']}"), get(f"{page_of_run}/rows/records?text=owned")):
        assert "<img" not in page and "<script>" not in page and "&lt;script&gt;" in page and "{{ 7 * 7 }}" in page
    assert "<img" not in get(f"{page_of_run}/rows/records?text=%22%3E%3Cimg%20src%3Dx%3E")


@pytest.mark.parametrize(
    "sql",
    ["DROP VIEW records", "COPY records TO 'x.csv'", "SELECT 1; SELECT 2", "SET threads = 1", "ATTACH 'x.db'",
     "PRAGMA version", "SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM glob('/*')", "INSTALL httpfs",
     "SELECT nothing"],
)  # fmt: skip
def test_the_sql_box_only_reads_the_folder(sql: str, page_of_run: str, run: Path) -> None:
    from urllib.parse import quote

    before = sorted(path.name for path in run.iterdir())
    assert 'role="alert"' in get(f"{page_of_run}/sql?query={quote(sql)}")
    assert sorted(path.name for path in run.iterdir()) == before


def test_the_sql_box_answers(page_of_run: str) -> None:
    page = get(f"{page_of_run}/sql?query=SELECT+category,+count(*)+AS+n+FROM+records+GROUP+BY+1+ORDER+BY+1")
    assert re.findall(r"<td>([abc])</td>", page) == ["a", "b", "c"] and "3 rows" in page


def test_another_host_or_another_page_is_refused(page_of_run: str) -> None:
    assert "this machine" in get(page_of_run, 403, Host="evil.example:80")
    form = b"decision=accept"
    assert "another page" in get(f"{page_of_run}/audit", 403, form, Origin="http://evil.example")
    assert "another page" in get(f"{page_of_run}/audit", 403, form)
    with urlopen(page_of_run) as response:
        policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy


@pytest.mark.parametrize("path", ["/rows/nothing", "/row/records/0123", "/nowhere", "/export/records.exe"])
def test_what_is_not_there_is_said(path: str, page_of_run: str) -> None:
    assert "Not here" in get(page_of_run + path, 400 if "nothing" in path else 404)


def test_a_blend_shows_sources_and_what_was_left_out(blend: Path) -> None:
    with serving(blend) as url:
        page = get(url)
        assert "<h2>Sources</h2>" in page and "made" in page and "chat" in page and "not_drawn" in page
        assert len(ids(get(f"{url}/rows/samples?source=made"))) == 9
        (chat,) = ids(get(f"{url}/rows/samples?source=chat"))
        assert "They swim." in get(f"{url}/row/samples/{chat}")
        assert "not_drawn" in get(f"{url}/rows/dropped")


def test_any_parquet_can_be_looked_at(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "Tell me about otters."}, {"from": "gpt", "value": "They swim."}]
    pq.write_table(pa.Table.from_pylist([{"conversations": turns, "source": s} for s in "ab"]), tmp_path / "x.parquet")
    with serving(tmp_path / "x.parquet") as url:
        page = get(f"{url}/rows/records?source=b&text=OTTERS")
        (id,) = re.findall(r"/row/records/([\d-]+)", page)
        assert "They swim." in get(f"{url}/row/records/{id}")


def test_a_folder_with_nothing_in_it_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gristmill.cli", "inspect", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "neither a run, a blend nor parquet" in done.stderr


# ---- in Chromium


@pytest.fixture(scope="module")
def running_chromium() -> Iterator[str]:
    with chromium() as address:
        yield address


@pytest.fixture
async def browser(running_chromium: str) -> AsyncIterator[Tab]:
    async with new_tab(running_chromium) as opened:
        yield opened


@pytest.mark.browser
async def test_no_script_of_a_record_runs_and_nothing_leaves_the_machine(
    run: Path, page_of_run: str, browser: Tab
) -> None:
    row = next(row for row in pq.read_table(run / "records").to_pylist() if EVIL in row["messages"][0]["content"])
    for path in (
        "",
        "/rows/records?text=owned",
        f"/row/records/{row['uuid']}",
        "/sql?query=SELECT+messages+FROM+records",
    ):
        await browser.open(page_of_run + path)
        assert "owned" not in await browser.value("document.title")
    assert browser.complaints == []  # nor did the policy have to stop anything of ours
    assert browser.requests and all(url.startswith(f"{page_of_run}/") for url in browser.requests)


@pytest.mark.browser
async def test_a_blend_of_all_generators_and_a_sharegpt_file(
    tmp_path: Path, browser: Tab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRISTMILL_CACHE", str(tmp_path / "cache"))
    sources = [source["name"] for source in blend_of_all_generators(tmp_path)["sources"]]
    assert len(sources) >= 10
    with serving(tmp_path / "out") as url:
        await browser.open(url)
        charts = await browser.value("document.body.innerText")
        assert all(source in charts for source in sources)
        for source in sources:
            await browser.open(f"{url}/rows/samples?source={source}")
            async with browser.loading():
                await browser.value("document.querySelector('#rows a').click()")
            assert await browser.value("document.querySelectorAll('.turn').length") >= 2
            supervised = "document.querySelectorAll('#trained .supervised').length"
            assert await browser.value(supervised) > 1, source  # the legend, and what is learnt
    assert browser.complaints == []


@pytest.mark.browser
async def test_keys(run: Path, page_of_run: str, browser: Tab) -> None:
    rows = pq.read_table(run / "records").to_pylist()
    await browser.open(f"{page_of_run}/rows/records")
    await browser.press("j")
    await browser.press("j")
    assert rows[1]["uuid"] in await browser.value("document.activeElement.href")
    await browser.press("k")
    assert rows[0]["uuid"] in await browser.value("document.activeElement.href")
    async with browser.loading():
        await browser.press("Enter")
    assert rows[0]["uuid"] in await browser.value("location.pathname")
    async with browser.loading():
        await browser.press("j")
    assert rows[1]["uuid"] in await browser.value("location.pathname")
    await browser.press("m")
    assert await browser.value("document.querySelector('#trained').hidden") is False
    await browser.press("?")
    assert await browser.value("document.querySelector('#help').open") is True
    await browser.press("Escape")
    async with browser.loading():
        await browser.press("u")
    await browser.press("/")
    assert await browser.value("document.activeElement.id") == "search"
    await browser.press("j")  # typed, not obeyed
    assert await browser.value("document.activeElement.value") == "j"


@pytest.mark.browser
async def test_an_audit_by_keyboard(run: Path, page_of_run: str, browser: Tab) -> None:
    await browser.open(f"{page_of_run}/audit?reviewer=ann&n=6")
    for key in ("a", "r", "s", "a", "r", "a"):
        async with browser.loading():
            await browser.press(key)
    assert "That was all of the sample" in await browser.value("document.body.innerText")
    reviews = pq.read_table(run / "reviews.parquet").to_pylist()
    assert [row["decision"] for row in reviews] == ["accept", "reject", "accept", "reject", "accept"]
    assert {row["reviewer"] for row in reviews} == {"ann"}
    summary = json.loads((run / "summary.json").read_text())
    assert summary["audit"]["reviewed"] == 5
    await browser.open(f"{page_of_run}/audit?reviewer=ann&n=6")
    assert "6 of 6" in await browser.value("document.body.innerText")  # the skipped one comes again


@pytest.mark.browser
async def test_pages_are_accessible_at_1280_pixels(run: Path, page_of_run: str, browser: Tab) -> None:
    uuid = pq.read_table(run / "records").to_pylist()[0]["uuid"]
    for path in ("/", "/rows/records", f"/row/records/{uuid}", "/sql", "/audit", "/audit?reviewer=bo"):
        await browser.open(page_of_run + path)
        assert await browser.value("document.documentElement.scrollWidth") <= 1280
        assert await browser.value("document.querySelectorAll('main').length") == 1
        assert await browser.value("document.querySelectorAll('h1').length") == 1
        assert await browser.value(UNLABELLED) == 0
        assert await browser.value(LOWEST_CONTRAST) >= 4.5, path


UNLABELLED = """
  [...document.querySelectorAll("input:not([type=hidden]), select, textarea")].filter((e) => !e.labels.length).length
"""
LOWEST_CONTRAST = """(() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const paper = (e) => {
    for (; e; e = e.parentElement) {
      const colour = rgb(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const texts = [...document.querySelectorAll("body *")].filter((e) =>
    [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) && e.checkVisibility() && !e.closest(".code"));
  return Math.min(...texts.map((e) => {
    const [dark, bright] = [light(rgb(getComputedStyle(e).color)), light(paper(e))].sort((a, b) => a - b);
    return (bright + 0.05) / (dark + 0.05);
  }));
})()"""
"""WCAG 2.2's contrast (https://www.w3.org/TR/WCAG22/#contrast-minimum), of all text but highlighted code."""
