"""The site builds without a warning, no link in it leads nowhere, nothing in it comes from elsewhere, and every picture is shown."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}
"""What a browser fetches by itself; a link to click is another matter."""


class Page(HTMLParser):
    """Ids, links and what is loaded, of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.titles: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if "id" in found:
            self.ids.add(found["id"])
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if (name := LOADED.get(tag)) and name in found:
            self.loaded.append(found[name])
        if "filename" in found.get("class", "").split():
            self.titles.append(tag)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site: mkdocs build --strict, in which a warning is an error; links, anchors and the nav are among what it warns of."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(ROOT / "mkdocs.yml"), "--site-dir", str(out)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"})
    assert told.returncode == 0, told.stdout + told.stderr
    return out


@pytest.fixture(scope="module")
def pages(site):
    return {path.relative_to(site): Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_every_document_is_a_page(site, pages):
    for path in DOCS.rglob("*.md"):
        relative = path.relative_to(DOCS).with_suffix("")
        folder = relative.parent if relative.name == "index" else relative
        assert folder / "index.html" in pages, path
    assert len(pages) > 35


def test_links_lead_to_pages_and_places_in_them(site, pages):
    wrong, followed = [], 0
    for path, page in pages.items():
        if path.name == "404.html":  # its links are absolute, for any place on the server
            continue
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            followed += 1
            place, anchor = urldefrag(link)
            target = (site / path.parent / unquote(place)).resolve() if place else site / path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                wrong.append(f"{path}: {link}")
            elif anchor and target.suffix == ".html" and unquote(anchor) not in pages[target.relative_to(site)].ids | {"__top"}:
                wrong.append(f"{path}: {link} (no such place)")
    assert not wrong
    assert followed > 1000


def test_nothing_is_loaded_from_elsewhere(site, pages):
    for path, page in pages.items():
        for link in page.loaded:
            assert not urlsplit(link).netloc, f"{path} loads {link}"
    for path in site.rglob("*.css"):
        for link in re.findall(r"url\(([^)]*)\)|@import", path.read_text(encoding="utf-8")):
            assert "//" not in link or link.lstrip("'\"").startswith("data:"), f"{path} loads {link}"


def test_the_words_for_the_tests_are_not_shown(site, pages):
    assert "refused" in (site / "tour" / "index.html").read_text(encoding="utf-8")
    assert pages[Path("tour/index.html")].titles
    for path in pages:
        words = (site / path).read_text(encoding="utf-8")
        assert "```" not in re.sub(r"<code>.*?</code>", "", words, flags=re.DOTALL), f"{path}: a fence was not understood"
        assert "no-run" not in words or path.parent.name == "architecture", path


def test_tabs_are_tabs(site):
    cookbook = (site / "cookbook" / "index.html").read_text(encoding="utf-8")
    assert cookbook.count('class="tabbed-block"') == 2
    assert 'class="language-sql' in cookbook.partition('class="tabbed-block"')[2][:400]


def test_every_picture_is_shown_and_small():
    shown = set()
    for path in [ROOT / "README.md", ROOT / "sql_examples" / "README.md", *DOCS.rglob("*.md")]:
        shown |= set(re.findall(r"!\[[^\]]+\]\((?:\.\./)*(?:docs/)?images/([\w.-]+)\)", path.read_text(encoding="utf-8")))
    there = {path.name for path in (DOCS / "images").iterdir()}
    assert shown == there
    for path in (DOCS / "images").iterdir():
        assert path.stat().st_size < 300_000, f"{path.name} is too large for a page"


def test_the_nav_has_each_page_once():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = re.findall(r"([\w/-]+\.md)$", text, flags=re.MULTILINE)
    assert len(named) == len(set(named))
    assert set(named) == {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}


def test_the_site_needs_nothing_from_elsewhere():
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert settings["theme"]["font"] is False
    assert "extra_javascript" not in settings


NEW = ["index.md", "tour.md", "cookbook.md", "how_it_works.md", "limits.md", "comparison.md"]


@pytest.mark.parametrize("name", NEW)
def test_statements_fit_the_page(name):
    inside = False
    for number, line in enumerate((DOCS / name).read_text(encoding="utf-8").splitlines(), 1):
        if re.match(r" *```", line):
            inside = re.match(r" *```(sql|python)", line) is not None
        elif inside:
            assert len(line) <= 104, f"{name}:{number}: {len(line)} characters"
