"""The files that pages load: released, unchanged, with their licence, and only in the allowed forms."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from podpass import console

FOLDER = Path(console.__file__).parent
STATIC = FOLDER / "static"
SOURCES = json.loads((STATIC / "sources.json").read_text())


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_third_party_file_equals_the_released_file(name: str) -> None:
    source = SOURCES[name]
    assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == source["sha256"]
    assert (STATIC / source["licence_file"]).read_text().startswith("Zero-Clause BSD")


def test_every_static_file_is_own_or_a_listed_third_party_file() -> None:
    own = {"console.css", "console.js", "icon.svg", "sources.json"}
    licences = {each["licence_file"] for each in SOURCES.values()}
    assert {path.name for path in STATIC.iterdir()} == own | licences | set(SOURCES)


@pytest.mark.parametrize(
    "path", sorted((FOLDER / "templates").iterdir()), ids=lambda path: path.name
)
def test_template_has_no_inline_code_and_no_url_of_another_host(path: Path) -> None:
    """No inline script or style, no other host, no disabled escaping."""
    text = path.read_text()
    assert not re.search(
        r"<style|style=|<script(?! src=)|\son[a-z]+=|javascript:|hx-on|hx-vals", text
    )
    assert not re.search(r"(?:src|href|action)=\"(?!\{\{ base \}\}|#content)", text)
    assert not re.search(r"\|\s*safe|autoescape|Markup", text)
