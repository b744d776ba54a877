"""Tokens signed in batches."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from podpass import log
from podpass.crypto import jose
from podpass.crypto.multibuffer import library as multibuffer
from podpass.exchange.signing.signer import PATIENCE, Signer

KEY = jose.SigningKey(kid="k", key=jose.generate_rsa())
PUBLIC = jose.load_jwk(jose.rsa_jwk(KEY.key.public_key(), "k"))


async def test_each_caller_gets_the_token_of_its_own_claims() -> None:
    signer = Signer()
    tokens = await asyncio.gather(*(signer.sign(KEY, {"n": n}, {"typ": "JWT"}) for n in range(20)))
    for number, text in enumerate(tokens):
        token = jose.parse(text)
        jose.verify(token, PUBLIC)
        assert token.claims == {"n": number}


async def test_a_caller_who_hangs_up_does_not_take_the_others_along() -> None:
    signer = Signer()
    first, second = (asyncio.create_task(signer.sign(KEY, {"n": n}, {})) for n in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert jose.parse(await second).claims == {"n": 1}
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_claims_that_cannot_be_signed_fail_their_caller_alone() -> None:
    signer = Signer()
    bad = asyncio.create_task(signer.sign(KEY, {"n": object()}, {}))
    good = asyncio.create_task(signer.sign(KEY, {"n": 1}, {}))
    assert jose.parse(await good).claims == {"n": 1}
    with pytest.raises(TypeError):
        await bad


class Library:
    """Loads keys as the multi-buffer library does, and signs by OpenSSL; notes what it was asked."""

    file = "/a/libcrypto_mb.so.13"

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault
        self.loaded = 0
        self.batches: list[int] = []

    def load(self, key: Any) -> "Loaded":
        self.loaded += 1
        return Loaded(self, jose.SigningKey(kid="k", key=key))


class Loaded:
    def __init__(self, library: Library, key: jose.SigningKey) -> None:
        self._library, self._key = library, key

    def sign(self, texts: Sequence[bytes]) -> list[bytes]:
        self._library.batches.append(len(texts))
        if self._library.fault is not None:
            raise self._library.fault
        return [self._key.signature(text.decode()) for text in texts]


class Tally:
    def __init__(self) -> None:
        self.made = {"multibuffer": 0, "openssl": 0}
        self.given_up = 0

    def signed(self, by: str, count: int) -> None:
        self.made[by] += count

    def gave_up(self) -> None:
        self.given_up += 1


async def _tokens(signer: Signer, keys: Sequence[jose.SigningKey]) -> None:
    """Ask for a token of each key in one turn; each is right, and of its own claims."""
    asked = (signer.sign(key, {"n": number}, {}) for number, key in enumerate(keys))
    for number, (key, text) in enumerate(zip(keys, await asyncio.gather(*asked), strict=True)):
        token = jose.parse(text)
        jose.verify(token, jose.load_jwk(jose.rsa_jwk(key.key.public_key(), key.kid)))
        assert token.claims == {"n": number}


@pytest.mark.parametrize(
    ("count", "batches"), [(1, []), (2, []), (3, [3]), (8, [8]), (10, [8]), (19, [8, 8, 3])]
)
async def test_tokens_of_one_turn_are_signed_up_to_eight_at_a_time(
    count: int, batches: list[int]
) -> None:
    """What is left over by two or fewer is quicker by itself."""
    library, tally = Library(), Tally()
    await _tokens(Signer(library, tally), [KEY] * count)
    assert library.batches == batches
    assert tally.made == {"multibuffer": sum(batches), "openssl": count - sum(batches)}


async def _turns_until(task: "asyncio.Task[str]") -> int:
    """Count the turns of the loop that it takes, when nothing else is done."""
    turns = 0
    while not task.done():
        await asyncio.sleep(0)
        turns += 1
    return turns


async def test_tokens_of_a_few_turns_are_signed_together() -> None:
    """Requests on new connections come one or two in a turn: none would ever be signed with others."""
    library = Library()
    signer = Signer(library)
    tasks = []
    for number in range(PATIENCE):
        tasks.append(asyncio.create_task(signer.sign(KEY, {"n": number}, {})))
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert library.batches == [PATIENCE]


async def test_a_full_batch_waits_for_no_other() -> None:
    library = Library()
    signer = Signer(library)
    tasks = [asyncio.create_task(signer.sign(KEY, {"n": n}, {})) for n in range(8)]
    assert await _turns_until(tasks[0]) <= 3
    assert library.batches == [8]


@pytest.mark.parametrize(("library", "most"), [(Library(), PATIENCE + 3), (None, 3)])
async def test_a_token_alone_waits_a_few_turns_at_most_and_none_without_a_library(
    library: Library | None, most: int
) -> None:
    """Fails when the patience does not end, or is had for nothing."""
    signer = Signer(library)
    for _ in range(2):
        assert await _turns_until(asyncio.create_task(signer.sign(KEY, {}, {}))) <= most


@pytest.mark.parametrize("kid", ["other", KEY.kid])
async def test_a_batch_is_of_one_key(kid: str) -> None:
    """Fails when keys are not told apart: at a rotation a token would bear the other key's name."""
    other = jose.SigningKey(kid=kid, key=jose.generate_rsa())
    library = Library()
    signer = Signer(library)
    await _tokens(signer, [KEY] * 4 + [other] * 3)
    assert library.batches == [4, 3]
    await _tokens(signer, [other] * 3)
    assert library.loaded == 2, "a key that signs is loaded once"


@pytest.mark.parametrize(
    "fault",
    [
        multibuffer.WrongSignature("wrong"),
        multibuffer.Unusable("refused"),
        MemoryError(),
        OSError(),
    ],
)
async def test_a_library_that_fails_once_is_given_up_and_nobody_notices(
    fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    library, tally = Library(fault), Tally()
    signer = Signer(library, tally)
    with caplog.at_level(logging.ERROR):
        await _tokens(signer, [KEY] * 8)
    assert [record.getMessage() for record in caplog.records] == ["multibuffer_given_up"]
    assert vars(caplog.records[0])["library"] == library.file
    library.fault = None
    await _tokens(signer, [KEY] * 8)
    assert library.batches == [8]
    assert (tally.made["openssl"], tally.given_up) == (16, 1)


async def test_a_key_that_signs_no_more_is_not_kept() -> None:
    """Fails when it goes only with the next batch: on a quiet service a withdrawn key would stay for ever."""
    library = Library()
    signer = Signer(library)
    await _tokens(signer, [KEY] * 3)
    assert signer._loaded is not None
    await _tokens(signer, [jose.SigningKey(kid="next", key=jose.generate_rsa())])
    assert signer._loaded is None


class Failing(jose.SigningKey):
    def signature(self, text: str) -> bytes:
        if jose.parse(text + ".AAAA").claims == {"n": 1}:
            raise ValueError("deliberate")
        return super().signature(text)


async def test_a_signature_that_fails_is_its_callers_alone() -> None:
    signer = Signer()
    key = Failing(kid="k", key=KEY.key)
    found = await asyncio.gather(
        *(signer.sign(key, {"n": number}, {}) for number in range(3)), return_exceptions=True
    )
    assert [isinstance(each, ValueError) for each in found] == [False, True, False]


async def test_a_library_given_up_is_told_in_nobodys_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one whose request began the turn has no part in it."""
    names = []
    told = logging.getLogger("podpass.exchange.signing.signer")
    monkeypatch.setattr(told, "handle", lambda _: names.append(log.correlation_id.get()))
    log.correlation_id.set("one caller's")
    await _tokens(Signer(Library(OSError())), [KEY] * 3)
    assert names == [""]


async def test_of_a_batch_whoever_hung_up_is_left_out() -> None:
    library = Library()
    signer = Signer(library)
    tasks = [asyncio.create_task(signer.sign(KEY, {"n": n}, {})) for n in range(5)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert library.batches == [4]
    assert [jose.parse(text).claims["n"] for text in found if isinstance(text, str)] == [0, 2, 3, 4]
