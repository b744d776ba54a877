"""Release notes and the changelog's entry, from `CHANGELOG.md` and the fragments in `changelog.d`."""

import re
from pathlib import Path

# The order of the headings in an entry.
KINDS = ("added", "changed", "fixed", "security")
_ENTRY = r"^## {version}(?: \(([^)]*)\))?\n(.*?)(?=^## |\Z)"
_FRAGMENT = re.compile(r"[a-z0-9-]+\.(added|changed|fixed|security)\.md")


class InvalidFragment(Exception):
    """A fragment whose name gives no kind, or which is empty."""


def fragments(root: Path) -> dict[str, list[str]]:
    """Return the texts of the fragments by kind, in the order of their names. Raises InvalidFragment."""
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for path in sorted((root / "changelog.d").glob("*.md")):
        if path.name == "README.md":
            continue
        name, text = _FRAGMENT.fullmatch(path.name), path.read_text().strip()
        if name is None or not text:
            raise InvalidFragment(
                f"changelog.d/{path.name}: name it WHAT.KIND.md, and write a text"
            )
        found[name[1]].append(text)
    return found


def entry(root: Path, version: str) -> tuple[str | None, str]:
    """Return the date and the text of a version's entry in CHANGELOG.md; no date and no text without one."""
    pattern = _ENTRY.format(version=re.escape(version))
    found = re.search(pattern, (root / "CHANGELOG.md").read_text(), re.MULTILINE | re.DOTALL)
    return (found[1], found[2].strip()) if found else (None, "")


def unfinished(root: Path, version: str) -> str | None:
    """Return why the changelog is not ready for a tag, or None."""
    date, text = entry(root, version)
    waiting = sum(map(len, fragments(root).values()))
    if waiting:
        return f"changelog.d has {waiting} fragments that are not in CHANGELOG.md"
    if not text or date in (None, "unreleased"):
        return f"CHANGELOG.md has no entry with a date for {version}"
    return None


def compose(root: Path, version: str) -> str:
    """Return the text of a version: its entry, with the fragments under the headings of their kinds."""
    _, text = entry(root, version)
    sections = _sections(text)
    for kind, texts in fragments(root).items():
        if texts:
            items = "\n".join(_as_item(one) for one in texts)
            earlier = sections.get(kind.capitalize(), "")
            # The entry may be divided by areas; the fragments then have a heading of their own.
            heading = "#### Other changes\n\n" if "#### " in earlier else ""
            sections[kind.capitalize()] = "\n\n".join(filter(None, [earlier, heading + items]))
    head = sections.pop("", "")
    order = [*(kind.capitalize() for kind in KINDS), *sections]
    parts = [f"### {name}\n\n{sections[name]}" for name in dict.fromkeys(order) if name in sections]
    return "\n\n".join(filter(None, [head, *parts])) + "\n"


def release_notes(root: Path, version: str) -> str:
    """Return the release notes of a version."""
    return f"# podpass {version}\n\n{compose(root, version)}"


def write_entry(root: Path, version: str, date: str) -> None:
    """Write the entry of a version with its date into CHANGELOG.md, and delete the fragments."""
    text, new = (root / "CHANGELOG.md").read_text(), compose(root, version)
    written = f"## {version} ({date})\n\n{new}\n"
    pattern = re.compile(_ENTRY.format(version=re.escape(version)), re.MULTILINE | re.DOTALL)
    if pattern.search(text):
        text = pattern.sub(lambda _: written, text)
    elif found := re.search(r"^## ", text, re.MULTILINE):
        text = text[: found.start()] + written + text[found.start() :]
    else:
        text = f"{text.rstrip()}\n\n{written}"
    (root / "CHANGELOG.md").write_text(text.rstrip() + "\n")
    for path in (root / "changelog.d").glob("*.md"):
        if path.name != "README.md":
            path.unlink()


def _sections(text: str) -> dict[str, str]:
    """Return the parts of an entry by their headings; the part before the first heading has no name."""
    parts = re.split(r"^### (.+)\n", text, flags=re.MULTILINE)
    return {"": parts[0].strip()} | {
        name.strip(): body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)
    }


def _as_item(text: str) -> str:
    lines = text.splitlines()
    return "\n".join([f"- {lines[0]}", *(f"  {line}".rstrip() for line in lines[1:])])
