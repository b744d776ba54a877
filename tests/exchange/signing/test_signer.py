"""The signer: batches, callers that are cancelled, and batch signers that fail."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from podpass import log
from podpass.crypto import jose
from podpass.crypto.multibuffer import library as multibuffer
from podpass.exchange.signing.signer import BATCH, MAX_WAIT_TICKS, OPENSSL, Signer
from tests import rsa_keys

KEY = jose.SigningKey(kid="k", key=rsa_keys.KEY)
PUBLIC = jose.load_jwk(jose.rsa_jwk(KEY.key.public_key(), "k"))


async def test_each_caller_gets_the_token_of_its_own_claims() -> None:
    signer = Signer()
    tokens = await asyncio.gather(*(signer.sign(KEY, {"n": n}, {"typ": "JWT"}) for n in range(20)))
    for number, text in enumerate(tokens):
        token = jose.parse(text)
        jose.verify(token, PUBLIC)
        assert token.claims == {"n": number}


async def test_cancelled_caller_does_not_cancel_others() -> None:
    signer = Signer()
    first, second = (asyncio.create_task(signer.sign(KEY, {"n": n}, {})) for n in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert jose.parse(await second).claims == {"n": 1}
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_claims_that_cannot_be_serialized_fail_only_their_caller() -> None:
    signer = Signer()
    bad = asyncio.create_task(signer.sign(KEY, {"n": object()}, {}))
    good = asyncio.create_task(signer.sign(KEY, {"n": 1}, {}))
    assert jose.parse(await good).claims == {"n": 1}
    with pytest.raises(TypeError):
        await bad


class FakeBatchSigner:
    """A batch signer that signs with OpenSSL and records its batches."""

    file = "/a/libcrypto_mb.so.13"
    min_batch = multibuffer.MIN_BATCH
    max_batch = multibuffer.LANES

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault
        self.loaded = 0
        self.batches: list[int] = []

    def load(self, key: Any) -> "FakeBatchKey":
        self.loaded += 1
        return FakeBatchKey(self, jose.SigningKey(kid="k", key=key))


class FakeBatchKey:
    def __init__(self, batch_signer: FakeBatchSigner, key: jose.SigningKey) -> None:
        self._batch_signer, self._key = batch_signer, key

    def sign(self, texts: Sequence[bytes]) -> list[bytes]:
        self._batch_signer.batches.append(len(texts))
        if self._batch_signer.fault is not None:
            raise self._batch_signer.fault
        return [self._key.signature(text.decode()) for text in texts]


class FakeSignatureMetrics:
    def __init__(self) -> None:
        self.signatures = {BATCH: 0, OPENSSL: 0}
        self.disabled = 0

    def count_signatures(self, by: str, count: int) -> None:
        self.signatures[by] += count

    def count_batch_signer_disabled(self) -> None:
        self.disabled += 1


async def _sign_all(signer: Signer, keys: Sequence[jose.SigningKey]) -> None:
    """Request a token for each key in one loop iteration; check that each has its own claims and key."""
    requests = (signer.sign(key, {"n": number}, {}) for number, key in enumerate(keys))
    for number, (key, text) in enumerate(zip(keys, await asyncio.gather(*requests), strict=True)):
        token = jose.parse(text)
        jose.verify(token, jose.load_jwk(jose.rsa_jwk(key.key.public_key(), key.kid)))
        assert token.claims == {"n": number}


@pytest.mark.parametrize(
    ("count", "batches"), [(1, []), (2, []), (3, [3]), (8, [8]), (10, [8]), (19, [8, 8, 3])]
)
async def test_tokens_of_one_iteration_are_signed_in_batches_of_eight(
    count: int, batches: list[int]
) -> None:
    """One or two remaining tokens are signed faster without a batch."""
    library, metrics = FakeBatchSigner(), FakeSignatureMetrics()
    await _sign_all(Signer(library, metrics), [KEY] * count)
    assert library.batches == batches
    assert metrics.signatures == {BATCH: sum(batches), OPENSSL: count - sum(batches)}


async def _iterations_until(task: "asyncio.Task[str]") -> int:
    """Count the iterations of an otherwise idle event loop until the task is done."""
    iterations = 0
    while not task.done():
        await asyncio.sleep(0)
        iterations += 1
    return iterations


async def test_tokens_of_a_few_iterations_are_signed_together() -> None:
    """Requests on new connections arrive one or two in an iteration; without waiting, no batch would form."""
    library = FakeBatchSigner()
    signer = Signer(library)
    tasks = []
    for number in range(MAX_WAIT_TICKS):
        tasks.append(asyncio.create_task(signer.sign(KEY, {"n": number}, {})))
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert library.batches == [MAX_WAIT_TICKS]


async def test_full_batch_is_signed_immediately() -> None:
    library = FakeBatchSigner()
    signer = Signer(library)
    tasks = [asyncio.create_task(signer.sign(KEY, {"n": n}, {})) for n in range(8)]
    assert await _iterations_until(tasks[0]) <= 3
    assert library.batches == [8]


@pytest.mark.parametrize(("library", "most"), [(FakeBatchSigner(), MAX_WAIT_TICKS + 3), (None, 3)])
async def test_single_token_waits_a_few_iterations_only_with_a_batch_signer(
    library: FakeBatchSigner | None, most: int
) -> None:
    """Fails if the wait has no end, or if a signer without a batch signer waits."""
    signer = Signer(library)
    for _ in range(2):
        assert await _iterations_until(asyncio.create_task(signer.sign(KEY, {}, {}))) <= most


@pytest.mark.parametrize("kid", ["other", KEY.kid])
async def test_tokens_of_two_keys_are_not_in_one_batch(kid: str) -> None:
    """Fails if a batch mixes keys: at a rotation, a token would have the other key's ID."""
    other = jose.SigningKey(kid=kid, key=jose.generate_rsa())
    library = FakeBatchSigner()
    signer = Signer(library)
    await _sign_all(signer, [KEY] * 4 + [other] * 3)
    assert library.batches == [4, 3]
    await _sign_all(signer, [other] * 3)
    assert library.loaded == 2, "a key that signs is loaded once"


@pytest.mark.parametrize(
    "fault",
    [
        multibuffer.WrongSignature("wrong"),
        multibuffer.MultiBufferUnusable("refused"),
        MemoryError(),
        OSError(),
    ],
)
async def test_failed_batch_signer_is_disabled_and_openssl_signs(
    fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    library, metrics = FakeBatchSigner(fault), FakeSignatureMetrics()
    signer = Signer(library, metrics)
    with caplog.at_level(logging.ERROR):
        await _sign_all(signer, [KEY] * 8)
    assert [record.getMessage() for record in caplog.records] == ["batch_signer_disabled"]
    assert vars(caplog.records[0])["library"] == library.file
    library.fault = None
    await _sign_all(signer, [KEY] * 8)
    assert library.batches == [8]
    assert (metrics.signatures[OPENSSL], metrics.disabled) == (16, 1)


async def test_inactive_key_is_removed_from_the_batch_signer() -> None:
    """Fails if only the next batch removes it: an idle service would keep a withdrawn key in memory."""
    library = FakeBatchSigner()
    signer = Signer(library)
    await _sign_all(signer, [KEY] * 3)
    assert signer._loaded is not None
    await _sign_all(signer, [jose.SigningKey(kid="next", key=jose.generate_rsa())])
    assert signer._loaded is None


class Failing(jose.SigningKey):
    def signature(self, text: str) -> bytes:
        if jose.parse(text + ".AAAA").claims == {"n": 1}:
            raise ValueError("deliberate")
        return super().signature(text)


async def test_failed_signature_affects_only_its_caller() -> None:
    signer = Signer()
    key = Failing(kid="k", key=KEY.key)
    found = await asyncio.gather(
        *(signer.sign(key, {"n": number}, {}) for number in range(3)), return_exceptions=True
    )
    assert [isinstance(each, ValueError) for each in found] == [False, True, False]


async def test_disabled_batch_signer_is_logged_without_correlation_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The failure belongs to the process, not to the request that started the batch."""
    logged_ids = []
    logger = logging.getLogger("podpass.exchange.signing.signer")
    monkeypatch.setattr(logger, "handle", lambda _: logged_ids.append(log.correlation_id.get()))
    log.correlation_id.set("one caller's")
    await _sign_all(Signer(FakeBatchSigner(OSError())), [KEY] * 3)
    assert logged_ids == [""]


async def test_cancelled_caller_is_left_out_of_the_batch() -> None:
    library = FakeBatchSigner()
    signer = Signer(library)
    tasks = [asyncio.create_task(signer.sign(KEY, {"n": n}, {})) for n in range(5)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert library.batches == [4]
    assert [jose.parse(text).claims["n"] for text in found if isinstance(text, str)] == [0, 2, 3, 4]
