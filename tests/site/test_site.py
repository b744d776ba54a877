"""The documentation site: built as `make site` builds it, with every link, and nothing from other hosts."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.browser import programs
from tests.site.built import BuiltSite, HtmlPage

ROOT = Path(__file__).parents[2]
# The first test builds the site, for 10 seconds on an idle machine.
pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]
# A resource that a style sheet loads from another host.
_FOREIGN = re.compile(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//([\w.-]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> BuiltSite:
    """Build the site in a folder of this test."""
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("the generator of the site is not installed: `make site` installs it")
    folder = tmp_path_factory.mktemp("site")
    _run(folder, "scripts/site.py", str(folder / "pages"))
    config = {
        "INHERIT": str(ROOT / "mkdocs.yml"),
        "docs_dir": str(folder / "pages"),
        "theme": {"custom_dir": str(ROOT / "scripts/site_theme")},
    }
    (folder / "mkdocs.yml").write_text(json.dumps(config))
    built = folder / "built"
    build = ("build", "--strict", "-f", str(folder / "mkdocs.yml"), "-d", str(built))
    _run(folder, "-m", "mkdocs", *build)
    return BuiltSite(built)


def _run(scratch: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        # jieba stores its dictionary there.
        env={**os.environ, "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_link_anchor_and_image_of_the_site_exists(site: BuiltSite) -> None:
    assert len(site.pages) > 90
    assert not site.broken_references()


def test_checker_finds_a_missing_page_an_anchor_and_an_image(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "index.html").write_text(
        '<a href="a/#there">1</a><a href="a/#gone">2</a><a href="b/">3</a><img src="c.png">'
    )
    (tmp_path / "a/index.html").write_text('<h1 id="there">A</h1><a href="../">back</a>')
    assert BuiltSite(tmp_path).broken_references() == [
        "index.html: a/#gone: no such anchor",
        "index.html: b/: no such file",
        "index.html: c.png: no such file",
    ]


def test_no_page_loads_anything_from_another_host(site: BuiltSite) -> None:
    foreign = [
        f"{name}: {reference}"
        for name, page in site.pages.items()
        for reference in page.loaded
        if reference.startswith(("http:", "https:", "//"))
    ]
    styles = [
        f"{path.name}: {host}"
        for path in site.folder.rglob("*.css")
        for host in _FOREIGN.findall(path.read_text())
    ]
    assert not foreign + styles
    # The theme's script loads Mermaid and a worker for file:// from another host if a page asks for them.
    asking = re.compile(r'class="[^"]*\bmermaid\b|iframe-worker|data-md-component="consent"')
    assert not [name for name, page in site.pages.items() if asking.search(page.text)]


def test_html_page_lists_urls_that_a_browser_loads() -> None:
    page = HtmlPage(
        '<link rel="stylesheet" href="https://a.example/x.css"><script src="//b.example/y.js"></script>'
        '<link rel="canonical" href="https://c.example/"><a href="https://d.example/">d</a>'
    )
    assert page.loaded == ["https://a.example/x.css", "//b.example/y.js"]


def test_search_index_has_every_page_and_the_words_of_chinese_pages(site: BuiltSite) -> None:
    index = json.loads((site.folder / "search/search_index.json").read_text())
    pages = {row["location"].partition("#")[0] for row in index["docs"]}
    assert {"", "cli/", "operate/webhook/", "charts/podpass/", "zh/"} <= pages
    chinese = "".join(row["text"] for row in index["docs"] if row["location"].startswith("zh/"))
    # jieba separates words by spaces of no width, which the search uses as separator.
    assert "\u200b" in chinese
    assert r"\u200b" in index["config"]["separator"]


@pytest.fixture(scope="module")
def tab(site: BuiltSite) -> Iterator[Any]:
    """Return a Chromium with the start page of the site."""
    if problem := programs.missing():
        pytest.skip(problem)
    from playwright.sync_api import sync_playwright

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *request: Any) -> None:
            super().__init__(*request, directory=str(site.folder))

        def log_message(self, *_: Any) -> None:
            pass

    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server,
        ThreadPoolExecutor() as threads,
        sync_playwright() as playwright,
    ):
        threads.submit(server.serve_forever)
        browser = playwright.chromium.launch(
            executable_path=shutil.which(programs.PROGRAM), args=arguments
        )
        tab = browser.new_page()
        tab.set_default_timeout(60_000)
        tab.goto(f"http://127.0.0.1:{server.server_port}/")

        yield tab
        browser.close()
        server.shutdown()


def test_search_for_an_error_number_finds_its_own_entry_first(site: BuiltSite, tab: Any) -> None:
    numbers = [path.name for path in (site.folder / "errors").glob("aadsts*")]
    assert len(numbers) > 90
    assert {"aadsts70021", "aadsts700213", "aadsts7002138"} <= {*numbers}
    for text in (*(name.upper() for name in numbers), "70021", "700213", "7002138"):
        # The search waits for keys.
        tab.fill(".md-search__input", "")
        tab.type(".md-search__input", text)
        own = f"a[href*='/errors/aadsts{text.removeprefix('AADSTS')}/']"
        tab.locator(".md-search-result__item").first.locator(own).first.wait_for()


def test_pages_name_their_language(site: BuiltSite) -> None:
    languages = {name: page.language for name, page in site.pages.items()}
    assert {code for name, code in languages.items() if name.startswith("zh/")} == {"zh"}
    assert {code for name, code in languages.items() if not name.startswith("zh/")} == {"en"}


def test_diagrams_are_drawn_at_build_time(site: BuiltSite) -> None:
    for name in ("index.html", "journey/index.html"):
        assert '<div class="diagram"><svg' in site.pages[name].text


def test_lists_and_code_of_a_list_item_are_rendered_as_in_the_repository(site: BuiltSite) -> None:
    # A fence that is not recognized would leave its marks in the page.
    assert not [name for name, page in site.pages.items() if "<p>```" in page.text]
    install = site.pages["operate/install/index.html"].text
    item = install.partition("NetworkPolicy.</strong>")[2].partition("</li>")[0]
    assert 'class="highlight"' in item
