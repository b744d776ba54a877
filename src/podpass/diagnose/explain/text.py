"""Clean a text for the search: colors, escapes of JSON and HTML, wrapped lines, tokens.

Pure; the work is linear in the length of the text.
"""

import html
import re

MAX_CHARS = 8 * 1024 * 1024
_MIN_WRAP_COLUMN = 40
_COLORS = re.compile(
    r"\x1b(?:\[[0-9;:?]{0,64}[ -/]{0,8}[@-~]|\][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)?)"
)
_ESCAPES = re.compile(r"\\{1,8}+(?:([nrt])|u([0-9a-fA-F]{4})|([\"'/]))")
_ENTITIES = re.compile(r"&(?:#[0-9]{1,4}|#[xX][0-9a-fA-F]{1,4}|quot|amp|apos|lt|gt|nbsp);")
# A token begins like this; the search must not repeat it, and the output must not contain it.
_TOKENS = re.compile(r"eyJ[\w.-]*")
_SECRETS = re.compile(
    r"(client[_-]?secret|client[_-]?assertion|access[_-]?token|refresh[_-]?token|password)"
    r"([\"'=: ]{1,6})[^\s\"'&,]+",
    re.IGNORECASE,
)
_BLANKS = re.compile(r"\s+")
_BYTE_ORDER = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb": "utf-8-sig"}


def decode(data: bytes) -> str:
    """Decode a text in UTF-8, or in UTF-16 with a byte order mark, as PowerShell redirects output."""
    return data.decode(_BYTE_ORDER.get(data[:2], "utf-8"), "replace")


def clean(text: str) -> str:
    """Return a text in one line, without escapes and colors, so that sentences can be found in it."""
    return " ".join(clean_lines(text))


def clean_lines(text: str) -> list[str]:
    """Return the lines of a text that are not blank, without escapes and colors.

    A later part of a text that is longer than MAX_CHARS is kept: the last error of a log matters most.
    """
    text = _ESCAPES.sub(_unescape, text[-MAX_CHARS:])
    text = _ENTITIES.sub(lambda found: html.unescape(found[0]), text)
    # Joined first: of a token in several lines, only the first one looks like a token.
    text = _join_wrapped(_COLORS.sub("", text))
    text = _SECRETS.sub(r"\1\2[secret]", _TOKENS.sub("[token]", text))
    lines = (_BLANKS.sub(" ", line).strip() for line in text.split("\n"))
    return [line for line in lines if line]


def _unescape(found: re.Match[str]) -> str:
    blank, code, quote = found.groups()
    if blank is not None:
        return "\n" if blank == "n" else " "
    return quote if code is None else chr(int(code, 16))


def _join_wrapped(text: str) -> str:
    """Join lines that a terminal cut at a column: two or more have the width of the longest line."""
    lines = text.split("\n")
    column = max(map(len, lines))
    if column < _MIN_WRAP_COLUMN or sum(len(line) == column for line in lines) < 2:
        return text
    return "".join(line if len(line) == column else line + "\n" for line in lines)
