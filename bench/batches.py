"""Signatures by the multi-buffer library beside OpenSSL's, on one core; nothing where there is none.

The least of many rounds, since on a shared machine everything else only adds.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from bench.rows import Row, row
from podpass.crypto.jose import SigningKey, generate_rsa
from podpass.crypto.multibuffer import library as multibuffer
from podpass.exchange.signing.signer import LEAST

ROUNDS = 400


def run() -> Iterator[Row]:
    """Time the smallest batch that is made, and a whole one, with the checks of what comes out."""
    try:
        library = multibuffer.find()
    except multibuffer.Unusable:
        return
    key = SigningKey(kid="bench", key=generate_rsa())
    loaded = library.load(key.key)
    for count in (LEAST, multibuffer.LANES):
        texts = [f"{number}." * 300 for number in range(count)]
        together = _least_us(partial(loaded.sign, [text.encode() for text in texts]))
        singly = _least_us(partial(_each, key, texts))
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


def _least_us(work: Callable[[], object]) -> float:
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found) * 1e6
