"""The site of the documentation: it builds strictly, none of its links is dead, and its pages ask no other host."""

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

import pytest

from tests.browser import chromium, new_tab

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.site


class Page(HTMLParser):
    """What a page links to, what it loads, and the places in it that a link can lead to."""

    LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "srcset")}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loads: set[str] = set()
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for key, value in attributes:
            if key in ("id", "name") and value:
                self.places.add(value)
            elif tag == "a" and key == "href" and value:
                self.links.add(value)
            elif (tag, key) in self.LOADED and value:
                self.loads.add(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text("utf-8")) for path in site.rglob("*.html")}


def test_every_page_of_docs_is_built(pages: dict[Path, Page], site: Path) -> None:
    sources = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert sources <= {path.relative_to(site) for path in pages}


def test_no_page_loads_anything_from_elsewhere(pages: dict[Path, Page], site: Path) -> None:
    for path, page in pages.items():
        assert [address for address in page.loads if urlsplit(address).netloc] == [], path
        assert len(page.loads) > 2, path  # the theme's own
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(https?:)?//|@import", style.read_text("utf-8")), style


def test_no_link_within_the_site_is_dead(pages: dict[Path, Page]) -> None:
    followed = 0
    for path, page in pages.items():
        for link in page.links | page.loads:
            target = urlsplit(link)
            if target.scheme or target.netloc or path.name == "404.html":  # that one's links begin at the root
                continue
            found = (path.parent / unquote(target.path)).resolve() if target.path else path
            assert found.is_file() or (found / "index.html").is_file(), f"{path.name}: {link}"
            if target.fragment and found in pages:
                assert unquote(target.fragment) in pages[found].places, f"{path.name}: {link}"
            followed += 1
    assert followed > 1000


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(site)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.browser
async def test_a_browser_asks_only_the_site_and_finds_things_in_it(address: str) -> None:
    with chromium() as browser:
        async with new_tab(browser) as tab:
            for page in ("index.html", "concepts.html", "config.html"):
                await tab.open(f"{address}/{page}")
            await tab.value("document.querySelector('[data-md-component=search-query]').focus()")
            for letter in "ledger":
                await tab.press(letter)
            found = """new Promise(done => { const look = () => {
                const hit = document.querySelector('.md-search-result__item a');
                hit ? done(hit.textContent) : setTimeout(look, 50) }; look() })"""
            assert "ledger" in str(await tab.value(found)).lower()
            assert [url for url in tab.requests if not url.startswith((address, "data:", "blob:"))] == []
            assert tab.complaints == []
