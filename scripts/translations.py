"""Compare the translated pages in docs/zh with their sources.

`translations.py` lists what differs: code blocks, names in code, and sections that changed after they were
translated.
`translations.py --accept PAGE...` notes that pages are translations of their sources as they are now.
"""

import hashlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
_FRONT = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_HEADING = re.compile(r"(#+) (.+)")
_CODE = re.compile(r"`([^`]+)`")
_INDENTED = re.compile(r"(?:    .*\n)+")


@dataclass(frozen=True)
class Section:
    """A section of a page: `title` is empty above the first heading."""

    title: str
    level: int
    text: str

    @property
    def digest(self) -> str:
        """Return a hash of the text, without its line breaks."""
        return hashlib.sha256(" ".join(self.text.split()).encode()).hexdigest()[:12]

    @property
    def blocks(self) -> list[str]:
        """Return the code blocks, fenced and indented."""
        fenced = re.findall(r"^ *```.*?^ *```", self.text, re.DOTALL | re.MULTILINE)
        return [*fenced, *_INDENTED.findall(_without_fences(self.text))]

    @property
    def names(self) -> set[str]:
        """Return the names in code: commands, flags, files, fields."""
        return {" ".join(name.split()) for name in _CODE.findall(_without_fences(self.text))}


def _without_fences(text: str) -> str:
    return re.sub(r"^ *```.*?^ *```\n?", "", text, flags=re.DOTALL | re.MULTILINE)


def sections(text: str) -> list[Section]:
    """Return the sections of a page in their order. A `#` in a code block begins none."""
    found, title, level, lines, fenced = [], "", 0, [], False
    for line in [*_FRONT.sub("", text).splitlines(), "# end"]:
        heading = None if fenced else _HEADING.fullmatch(line)
        fenced ^= line.lstrip().startswith("```")
        if heading:
            found.append(Section(title, level, "".join(lines)))
            title, level, lines = heading[2], len(heading[1]), []
        else:
            lines.append(line + "\n")
    return [one for one in found if one.title or one.text.strip()]


def front_matter(text: str) -> dict[str, object]:
    """Return the front matter of a page."""
    found = _FRONT.match(text)
    return yaml.safe_load(found[1]) if found else {}


def differences(translated: str, source: str) -> list[str]:
    """Return what makes a page another than the translation of its source."""
    notes = front_matter(translated)
    noted = notes.get("translated") or {}
    left_out = set(notes.get("left_out") or [])
    own, originals = sections(translated), sections(source)
    wanted = [one for one in originals if one.title not in left_out]
    found = [
        f"no section {title!r} in the source" for title in left_out - {o.title for o in originals}
    ]
    if [one.level for one in own] != [one.level for one in wanted]:
        titles = [one.title for one in wanted]
        return [*found, f"its {len(own)} sections are not those of the source: {titles}"]
    for one, original in zip(own, wanted, strict=True):
        if noted.get(original.title) != original.digest:
            found.append(f"older than the section {original.title!r} of its source")
        if one.blocks != original.blocks:
            found.append(f"{one.title!r}: other code blocks than {original.title!r}")
        for name in sorted(one.names ^ original.names):
            where = "only here" if name in one.names else "missing"
            found.append(f"{one.title!r}: `{name}` is {where}")
    return found


def accept(page: Path) -> None:
    """Note in the front matter that a page is a translation of its source as it is now."""
    text = page.read_text()
    notes = front_matter(text)
    left_out = set(notes.get("left_out") or [])
    source = (ROOT / str(notes["source"])).read_text()
    notes["translated"] = {
        one.title: one.digest for one in sections(source) if one.title not in left_out
    }
    head = yaml.safe_dump(notes, allow_unicode=True, sort_keys=False, width=200)
    page.write_text(f"---\n{head}---\n{_FRONT.sub('', text)}")


def main(arguments: list[str]) -> int:
    """Accept the pages that are named after `--accept`, or list the differences of all."""
    if arguments[:1] == ["--accept"]:
        for name in arguments[1:]:
            accept(Path(name))
        return 0
    found = [
        f"{page.relative_to(ROOT)}: {difference}"
        for page in sorted((ROOT / "docs/zh").rglob("*.md"))
        for difference in _differences_of(page)
    ]
    print("\n".join(found), end="\n" if found else "", file=sys.stderr)
    return 1 if found else 0


def _differences_of(page: Path) -> list[str]:
    text = page.read_text()
    source = front_matter(text).get("source")
    if front_matter(text).get("lang") != "zh" or not source:
        return ["the front matter has no `lang: zh` and `source`"]
    return differences(text, (ROOT / str(source)).read_text())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
