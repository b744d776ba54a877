"""Signatures by the multi-buffer library compared with OpenSSL's, on one core; no rows without the library.

The result is the minimum of many rounds, because other programs of the machine only add time.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from bench.rows import Row, row
from podpass.crypto.jose import SigningKey, generate_rsa
from podpass.crypto.multibuffer import library as multibuffer

ROUNDS = 400


def run() -> Iterator[Row]:
    """Time the smallest batch and a full batch, including the verification of the signatures."""
    try:
        library = multibuffer.find_library()
    except multibuffer.MultiBufferUnusable:
        return
    key = SigningKey(kid="bench", key=generate_rsa())
    loaded = library.load(key.key)
    for count in (multibuffer.MIN_BATCH, multibuffer.LANES):
        texts = [f"{number}." * 300 for number in range(count)]
        together = _min_us(partial(loaded.sign, [text.encode() for text in texts]))
        singly = _min_us(partial(_each, key, texts))
        yield row(
            f"{count} signatures made together, each checked",
            f"{together:.0f} us",
            f"OpenSSL, one by one: {singly:.0f} us",
            together / singly,
            most=1,
        )


def _each(key: SigningKey, texts: Iterable[str]) -> None:
    for text in texts:
        key.signature(text)


def _min_us(work: Callable[[], object]) -> float:
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found) * 1e6
