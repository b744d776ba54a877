"""Translated pages have the code of their sources, and are not older than them."""

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.run_program import run_text

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts/translations.py"
SOURCE = """\
# Title

Run `podpass up`.

```
podpass up
# no heading
```

## Second

    drawing

Text.
"""
TRANSLATED = SOURCE.replace("Title", "标题").replace("Run", "运行").replace("Text", "文字")
# The pages of "start", and the subjects of Microsoft's pages on workload identity.
PAGES = {"index", "install", "tutorial", "connect", "migrate", "sidecar"}


@pytest.fixture(scope="module")
def translations() -> Any:
    spec = importlib.util.spec_from_file_location("translations", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["translations"] = module
    spec.loader.exec_module(module)
    return module


def _noted(translations: Any, text: str, source: str = SOURCE) -> str:
    """Return a translated page that notes the sections of a source."""
    digests = "".join(f"  {one.title}: {one.digest!r}\n" for one in translations.sections(source))
    return f"---\nlang: zh\ntranslated:\n{digests}---\n{text}"


def test_every_translation_is_up_to_date_with_its_source() -> None:
    done = run_text([sys.executable, SCRIPT])
    assert done.returncode == 0, (
        done.stderr + "correct the translation, then: python scripts/translations.py --accept PAGE"
    )


def test_every_subject_has_a_page_in_chinese() -> None:
    pages = {path.stem: path.read_text() for path in (ROOT / "docs/zh").glob("*.md")}
    assert pages.keys() >= PAGES
    for name, text in pages.items():
        prose = re.sub(r"\A---\n.*?\n---\n|```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
        chinese = len(re.findall(r"[\u4e00-\u9fff]", prose))
        assert chinese > 300, name
        # A sentence that was left in English: eight Latin words in a row.
        assert not re.findall(
            r"(?:\b[A-Za-z]+[ ,]+){8}", re.sub(r"\]\([^)]*\)|\|[^\n]*", "", prose)
        ), name


def test_equal_page_has_no_difference(translations: Any) -> None:
    assert translations.differences(_noted(translations, TRANSLATED), SOURCE) == []


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        ("podpass up\n#", "podpass down\n#", "'标题': other code blocks than 'Title'"),
        ("    drawing", "    picture", "'Second': other code blocks than 'Second'"),
        ("`podpass up`", "`podpass start`", "'标题': `podpass start` is only here"),
        ("`podpass up`", "podpass up", "'标题': `podpass up` is missing"),
        (
            "## Second",
            "### Second",
            "its 2 sections are not those of the source: ['Title', 'Second']",
        ),
        ("## Second\n", "", "its 1 sections are not those of the source: ['Title', 'Second']"),
    ],
    ids=["command", "drawing", "other-name", "missing-name", "level", "missing-section"],
)
def test_difference_of_a_translation_is_named(
    translations: Any, old: str, new: str, difference: str
) -> None:
    assert old in TRANSLATED
    changed = _noted(translations, TRANSLATED.replace(old, new))
    assert difference in translations.differences(changed, SOURCE)


def test_section_that_changed_after_its_translation_is_named(translations: Any) -> None:
    page = _noted(translations, TRANSLATED)
    assert translations.differences(page, SOURCE.replace("Text.", "Other text.")) == [
        "older than the section 'Second' of its source"
    ]
    assert translations.differences(page, SOURCE.replace("Run `podpass", "Run\n`podpass")) == []


def test_section_may_be_omitted_only_if_the_page_names_it(translations: Any) -> None:
    first = TRANSLATED.partition("## ")[0]
    page = _noted(translations, first).replace("lang: zh\n", "lang: zh\nleft_out: [Second]\n")
    assert translations.differences(page, SOURCE) == []
    page = page.replace("[Second]", "[Second, Third]")
    assert translations.differences(page, SOURCE) == ["no section 'Third' in the source"]


def test_accept_records_the_sections_of_the_source(
    translations: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(translations, "ROOT", tmp_path)
    (tmp_path / "source.md").write_text(SOURCE)
    page = tmp_path / "page.md"
    page.write_text(f"---\nlang: zh\nsource: source.md\n---\n{TRANSLATED}")
    assert translations.differences(page.read_text(), SOURCE)
    assert translations.main(["--accept", str(page)]) == 0
    assert translations.differences(page.read_text(), SOURCE) == []
    assert page.read_text().endswith(TRANSLATED)
