"""Reads a built site: what each page links to, loads and offers as anchors."""

import posixpath
from dataclasses import dataclass, field
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What a browser loads without a click; `link` with one of the other relations only names a page.
_LOADS = {"img", "script", "iframe", "source", "audio", "video", "embed", "track", "input"}
_NAMES_ONLY = {"canonical", "prev", "next", "alternate"}


@dataclass
class HtmlPage(HTMLParser):
    """The references of one page; `loaded` has those that a browser requests itself."""

    text: str
    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    language: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids.update(values[name] for name in ("id", "name") if name in values)
        if tag == "html":
            self.language = values.get("lang", "")
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "link" and not _NAMES_ONLY.intersection(values.get("rel", "").split()):
            self.loaded.append(values.get("href", ""))
        if tag in _LOADS:
            self.loaded += [values[name] for name in ("src", "srcset", "data") if values.get(name)]


@dataclass(frozen=True)
class BuiltSite:
    """A folder with a built site."""

    folder: Path

    @cached_property
    def pages(self) -> dict[str, HtmlPage]:
        """Return the pages by their path. 404.html is left out: its links are absolute."""
        return {
            str(path.relative_to(self.folder)): HtmlPage(path.read_text())
            for path in sorted(self.folder.rglob("*.html"))
            if path.name != "404.html"
        }

    def broken_references(self) -> list[str]:
        """Return the links, images and other references without a target in the site."""
        return [
            f"{name}: {reference}: {reason}"
            for name, page in self.pages.items()
            for reference in [*page.links, *page.loaded]
            if (reason := self._broken(name, reference))
        ]

    def _broken(self, name: str, reference: str) -> str:
        parts = urlsplit(reference)
        if parts.scheme or parts.netloc:
            return "" if parts.scheme in ("http", "https", "mailto") else "unknown scheme"
        if parts.path.startswith("/"):
            return "absolute"
        target = name
        if parts.path:
            target = posixpath.normpath(
                posixpath.join(posixpath.dirname(name), unquote(parts.path))
            )
            if parts.path.endswith("/") or (self.folder / target).is_dir():
                target = posixpath.normpath(posixpath.join(target, "index.html"))
        if not (self.folder / target).is_file():
            return "no such file"
        anchor = unquote(parts.fragment)
        if anchor and target in self.pages and anchor not in self.pages[target].ids:
            return "no such anchor"
        return ""
