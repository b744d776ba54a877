"""Tokens signed in batches."""

import asyncio

import pytest

from podpass import jose
from podpass.exchange.signer import Signer

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
