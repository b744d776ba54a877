"""Warning headers of a response, bounded in number and length."""

import unicodedata
from collections.abc import Iterable, Iterator

_MAX_TOTAL_CHARS = 4096
_MAX_TRUNCATED_CHARS = 256
# A line break would end the header and start another header with content from the warning.
_FORBIDDEN_CATEGORIES = ("Cc", "Cs")


def format_headers(warnings: Iterable[str]) -> list[bytes]:
    """Format warnings as header values, each once; truncate each and omit the last if they are too long.

    Units: characters; at most 4096 in total, and 256 per warning if they are truncated.
    Source:  the warning recorder of kube-apiserver.
    """
    unique = list(dict.fromkeys(warnings))
    if sum(map(len, unique)) > _MAX_TOTAL_CHARS:
        unique = list(_truncate(unique))
    # The characters are checked last: a request can cause a warning for each of 100,000 fields.
    return [b'299 - "%s"' % _quote(each) for each in unique if _is_sendable(each)]


def _truncate(warnings: Iterable[str]) -> Iterator[str]:
    remaining = _MAX_TOTAL_CHARS
    for each in warnings:
        if remaining <= 0:
            return
        yield each[:_MAX_TRUNCATED_CHARS]
        remaining -= len(each[:_MAX_TRUNCATED_CHARS])


def _is_sendable(text: str) -> bool:
    return bool(text) and not any(
        unicodedata.category(char) in _FORBIDDEN_CATEGORIES for char in text
    )


def _quote(text: str) -> bytes:
    return text.replace("\\", "\\\\").replace('"', '\\"').encode()
