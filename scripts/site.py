"""Assemble the pages of the documentation site in a folder, for the generator that mkdocs.yml configures.

The site has pages outside docs/, two generated lists, and diagrams that are drawn here. Links work as in the
repository.
"""

import json
import posixpath
import re
import shutil
import sys
from pathlib import Path

from site_diagrams import draw

ROOT = Path(__file__).parents[1]
# Pages outside docs/, by their place in the site, and docs/README.md, which MkDocs takes for the start page.
OUTSIDE = {
    "index.md": "README.md",
    "documentation.md": "docs/README.md",
    "kubeling/index.md": "kubeling/README.md",
    **{
        f"kubeling/{path.name}": f"kubeling/docs/{path.name}"
        for path in ROOT.glob("kubeling/docs/*.md")
    },
    "contributing.md": "CONTRIBUTING.md",
    "security-policy.md": "SECURITY.md",
    "changelog.md": "CHANGELOG.md",
    "changelog-fragments.md": "changelog.d/README.md",
    "charts/podpass.md": "charts/podpass/README.md",
    "charts/podpass-authority.md": "charts/podpass-authority/README.md",
    "charts/podpass-cloud.md": "charts/podpass-cloud/README.md",
}
# Folders that a page may link to, by the list of their files in the site.
_LISTED = {
    "docs/decisions": "decisions/index.md",
    "docs/openapi": "openapi/index.md",
    "kubeling/examples": "files/kubeling/examples/test_website.py",
}
_LINK = re.compile(r"\]\((?![a-z]+:|#|/)([^)#\s]+)(#[^)\s]*)?\)")
_MERMAID = re.compile(r"^```mermaid\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_ERROR = re.compile(r"^### AADSTS(\d+)\n", re.MULTILINE)
_SECTION = re.compile(r"^## ", re.MULTILINE)
_ITEM = re.compile(r"(?:[-*]|\d+\.) +")


def assemble(folder: Path) -> None:
    """Write all pages and the files that they link to into a new folder.

    Raises MissingFile, UnknownSyntax.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "docs", folder)
    for path in sorted((ROOT / "docs").rglob("*.md")):
        uri = str(path.relative_to(ROOT / "docs"))
        if uri == "README.md":
            (folder / uri).unlink()
            continue
        _write_page(folder, uri, f"docs/{uri}", path.read_text())
    for uri, source in OUTSIDE.items():
        _write_page(folder, uri, source, (ROOT / source).read_text())
    _write_error_pages(folder)
    (folder / "decisions/index.md").write_text(decisions_page())
    (folder / "openapi/index.md").write_text(openapi_page())


def _write_error_pages(folder: Path) -> None:
    """Write each entry of errors.md as a page too, and let the search find the page instead of the entry."""
    _, *entries = _ERROR.split((ROOT / "docs/errors.md").read_text())
    bodies = dict(zip(entries[::2], entries[1::2], strict=True))
    for number, body in bodies.items():
        # The search also finds the longer numbers that begin with this one, and ranks rare words higher.
        longest = max(len(each) for each in bodies if each.startswith(number))
        head = f"---\nsearch:\n  boost: {4 ** (longest - len(number))}\n---\n# AADSTS{number}\n"
        text = _SECTION.split(body)[0].rstrip()
        back = f"[All errors in the order of the checks](errors.md#aadsts{number})"
        uri = f"errors/aadsts{number}.md"
        _write_page(folder, uri, "docs/errors.md", f"{head}{text}\n\n{back}\n")
    page = folder / "errors.md"
    page.write_text(f"---\nsearch:\n  exclude: true\n---\n{page.read_text()}")


class MissingFile(Exception):
    """A page links to a file that does not exist."""


def _write_page(folder: Path, uri: str, source: str, text: str) -> None:
    def link(found: re.Match[str]) -> str:
        place = _place(source, found[1])
        if place.startswith("files/"):
            _copy(folder, place, source)
        start = posixpath.dirname(uri) or "."
        return f"]({posixpath.relpath(place, start)}{found[2] or ''})"

    lines, fenced = [], False
    for line in indent_lists(text.splitlines()):
        fenced ^= line.lstrip().startswith("```")
        lines.append(line if fenced else _LINK.sub(link, line))
    page = folder / uri
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(_MERMAID.sub(_diagram, "\n".join([*lines, ""])))


def _diagram(found: re.Match[str]) -> str:
    return f'<div class="diagram">{draw(found[1])}</div>'


def _copy(folder: Path, place: str, source: str) -> None:
    """Copy a file that is no page, such as an example, below files/."""
    path = ROOT / place.removeprefix("files/")
    if not path.is_file():
        raise MissingFile(f"{source} links to {path.relative_to(ROOT)}, which is no file")
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, folder / place)


def _place(source: str, target: str) -> str:
    """Return the place in the site of what a page of the repository links to."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    for uri, outside in OUTSIDE.items():
        if outside == path:
            return uri
    if path in _LISTED:
        return _LISTED[path]
    return path.removeprefix("docs/") if path.startswith("docs/") else f"files/{path}"


def indent_lists(lines: list[str]) -> list[str]:
    """Indent what belongs to a list item by four columns, as Python-Markdown needs it."""
    done: list[str] = []
    width, fenced = 0, False
    for line in lines:
        inside = len(line) - len(line.lstrip()) >= width > 0
        if not fenced and line.strip() and not inside:
            item = _ITEM.match(line)
            width = len(item[0]) if item else 0
        if line.lstrip().startswith("```"):
            fenced = not fenced
        done.append("    " + line[width:] if inside and line.strip() else line)
    return done


def decisions_page() -> str:
    """List the decision records with their titles."""
    lines = [
        "# Design decisions\n",
        "Each page has the decisions about one subject, with their reasons.\n",
    ]
    for path in sorted((ROOT / "docs/decisions").glob("0*.md")):
        number, _, title = path.read_text().partition("\n")[0].removeprefix("# ").partition(". ")
        lines.append(f"- {int(number):04}: [{title}]({path.name})")
    return "\n".join([*lines, ""])


def openapi_page() -> str:
    """List the OpenAPI descriptions with their titles and operations."""
    lines = [
        "# API descriptions\n",
        "OpenAPI files of the APIs that an instance and the authority serve.\n",
        "| API | file | operations |",
        "|---|---|---|",
    ]
    for path in sorted((ROOT / "docs/openapi").glob("*.json")):
        described = json.loads(path.read_text())
        count = sum(len(methods) for methods in described["paths"].values())
        lines.append(f"| {described['info']['title']} | [{path.name}]({path.name}) | {count} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    assemble(Path(sys.argv[1]))
