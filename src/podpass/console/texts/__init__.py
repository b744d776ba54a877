"""The texts of the console: one file for each language, all with the same keys."""

import json
from functools import cache
from importlib import resources

LANGUAGES = ("en", "zh")
DEFAULT = "en"
_MAX_HEADER = 200


class Texts:
    """The texts of one language."""

    def __init__(self, language: str, texts: dict[str, str]) -> None:
        self.language = language
        self._texts = texts

    def __call__(self, key: str, **values: object) -> str:
        """Return a text, with values in place of the names in braces."""
        text = self._texts[key]
        return text.format_map(values) if values else text


@cache
def load(language: str) -> Texts:
    """Read the texts of one of `LANGUAGES`."""
    file = resources.files(__name__).joinpath(f"{language}.json")
    return Texts(language, json.loads(file.read_text("utf-8")))


def choose_language(cookie: str, accept: str) -> str:
    """Return the language of a request: the cookie's, else the first acceptable one of `Accept-Language`."""
    if cookie in LANGUAGES:
        return cookie
    wanted: list[tuple[float, str]] = []
    for part in accept[:_MAX_HEADER].split(","):
        tag, _, weight = part.strip().partition(";q=")
        language = tag.partition("-")[0].lower()
        if language in LANGUAGES and (quality := _quality(weight)) > 0:
            wanted.append((quality, language))
    return max(wanted, key=lambda one: one[0])[1] if wanted else DEFAULT


def _quality(text: str) -> float:
    try:
        return float(text or "1")
    except ValueError:
        return 0.0
