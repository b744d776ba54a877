"""Warnings to whoever asked, as headers: how many, how long, and which are not sent at all."""

import unicodedata
from collections.abc import Iterable, Iterator

_MOST = 4096
_LONGEST = 256
# A line break would end the header, and begin one that the warning's author chose.
_UNSENDABLE = ("Cc", "Cs")


def written(warnings: Iterable[str]) -> list[bytes]:
    """Write warnings, each once; where they are too long together, each is cut and the last are left out.

    Units:   characters; all together may have 4096, and then 256 each.
    Source:  the API server's own recorder of warnings.
    """
    wanted = [each for each in dict.fromkeys(warnings) if _can_be_sent(each)]
    if sum(map(len, wanted)) > _MOST:
        wanted = list(_cut(wanted))
    return [b'299 - "%s"' % _quoted(each) for each in wanted]


def _cut(warnings: Iterable[str]) -> Iterator[str]:
    room = _MOST
    for each in warnings:
        if room <= 0:
            return
        yield each[:_LONGEST]
        room -= len(each[:_LONGEST])


def _can_be_sent(text: str) -> bool:
    return bool(text) and not any(unicodedata.category(char) in _UNSENDABLE for char in text)


def _quoted(text: str) -> bytes:
    return text.replace("\\", "\\\\").replace('"', '\\"').encode()
