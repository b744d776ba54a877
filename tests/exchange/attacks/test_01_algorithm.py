"""Group 1: no algorithm, or one that is similar to a supported one."""

import pytest

from tests.exchange.attacks.forge import build_token, valid_parts
from tests.exchange.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")
NO_ALGORITHM: list[object] = [
    *("none", "None", "NONE", "nOnE", "", None, [], ["RS256"], ["none"], {}, 0, True, 1),
]
ALMOST = ["rs256", "Rs256", "RS256 ", " RS256", "RS256\0", "RS-256", "RS2560", "HS256", "PS256"]


@pytest.mark.parametrize("alg", [*NO_ALGORITHM, *ALMOST, "ES256", "ES384", "EdDSA", "RSA-OAEP"])
async def test_unsupported_algorithm_is_refused(shared: World, alg: object) -> None:
    header, claims = valid_parts(shared)
    for signature in (b"", b"\0"):
        token = build_token(shared, {**header, "alg": alg}, claims, signature)
        answer = await shared.present(token)
        assert (answer.status, answer.code) == (401, 5002738)


async def test_header_without_an_algorithm_is_refused(shared: World) -> None:
    header, claims = valid_parts(shared)
    del header["alg"]
    for signature in (b"", b"\0"):
        token = build_token(shared, header, claims, signature)
        assert (await shared.present(token)).code == 5002738


async def test_token_without_signature_is_refused(shared: World) -> None:
    unsigned = shared.mint().rpartition(".")[0] + "."
    assert (await shared.present(unsigned)).code == 7000274


@pytest.mark.parametrize("alg", [*NO_ALGORITHM, "HS256", "ES256", "RS384", "RS512", "ps256"])
async def test_certificate_assertion_without_supported_algorithm_is_refused(
    shared: World, alg: object
) -> None:
    """Certificate assertions have their own list of algorithms; it must refuse the same values."""
    header, claims = valid_parts(shared, iss=shared.APPLICATION, sub=shared.APPLICATION)
    token = build_token(shared, {**header, "alg": alg}, claims, b"\0")
    answer = await shared.request_token(client_id=shared.APPLICATION, client_assertion=token)
    assert (answer.status, answer.code) == (401, 5002738)
