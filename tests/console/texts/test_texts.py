"""The texts of the console: each language has the same keys and the same values in braces."""

import re
from pathlib import Path

import pytest

from podpass.console import model, texts
from podpass.diagnose.trace.hop import STAGES

ROOT = Path(texts.__file__).parents[1]
_VALUE = re.compile(r"\{(\w+)\}")


def keys(language: str) -> dict[str, list[str]]:
    found = texts.load(language)._texts
    return {key: sorted(_VALUE.findall(text)) for key, text in found.items()}


def test_languages_have_the_same_keys_and_values() -> None:
    assert keys("zh") == keys("en")


def test_no_text_is_empty_and_chinese_texts_are_translated() -> None:
    same = {"stage.account", "nav.pods", "pods.pod", "pods.account"}
    english, chinese = texts.load("en"), texts.load("zh")
    for key in keys("en"):
        assert english(key)
        assert chinese(key) != english(key) or key in same, key


def test_each_text_is_used_and_each_used_text_exists() -> None:
    templates = "".join(path.read_text() for path in (ROOT / "templates").iterdir())
    used = set(re.findall(r"\bt\('([a-z_.]+[a-z_])'", templates))
    used |= {f"nav.{view}" for view in model.VIEWS}
    used |= {f"stage.{stage}{part}" for stage in STAGES for part in ("", ".about")}
    used |= {f"claims.{kind}" for kind in ("assertion", "access_token")}
    used |= {f"pods.{verdict}" for verdict in ("mutated", "missed", "unlabelled")}
    used |= {"lang", "lang.name"}
    assert used == set(keys("en"))


@pytest.mark.parametrize(
    ("cookie", "accept", "expected"),
    [
        ("", "", "en"),
        ("", "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("", "en;q=0.5, zh-TW;q=0.7", "zh"),
        ("", "de-DE, fr;q=0.9", "en"),
        ("", "zh;q=0", "en"),
        ("", "zh;q=many", "en"),
        ("zh", "en", "zh"),
        ("en", "zh", "en"),
        ("../zh", "en", "en"),
        ("", "a," * 100_000, "en"),
    ],
)
def test_request_language_is_that_of_the_cookie_or_of_accept_language(
    cookie: str, accept: str, expected: str
) -> None:
    assert texts.choose_language(cookie, accept) == expected
