"""Group 4: duplicate JSON members, which two parsers may read differently."""

import json

import pytest

from tests.exchange.attacks.forge import build_token, valid_parts
from tests.exchange.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    "again",
    [
        *('"sub":"system:serviceaccount:default:web"', '"sub":"admin"', '"\\u0073ub":"admin"'),
        *('"iss":"https://evil.test/"', '"aud":"x"', '"exp":9999999999', '"exp":null'),
        *('"kubernetes.io":{}', '"x":{"a":1,"a":1}', '"x":[{"a":1,"\\u0061":2}]'),
    ],
)
async def test_duplicate_claim_is_refused(shared: World, again: str) -> None:
    header, claims = valid_parts(shared)
    written = json.dumps(claims)
    for twice in (f"{written[:-1]},{again}}}", f"{{{again},{written[1:]}"):
        answer = await shared.present(build_token(shared, header, twice.encode()))
        assert (answer.status, answer.code) == (400, 50027)


@pytest.mark.parametrize(
    "again", ['"alg":"RS256"', '"alg":"none"', '"\\u0061lg":"none"', '"kid":"x"']
)
async def test_duplicate_header_member_is_refused(shared: World, again: str) -> None:
    header, claims = valid_parts(shared)
    written = json.dumps(header)
    for twice in (f"{written[:-1]},{again}}}", f"{{{again},{written[1:]}"):
        assert (await shared.present(build_token(shared, twice.encode(), claims))).code == 50027


async def test_similar_member_names_are_different(shared: World) -> None:
    header, claims = valid_parts(shared)
    other = {**claims, "Sub": "admin", "s\u0443b": "admin", "sub ": "admin"}
    assert (await shared.present(build_token(shared, header, other))).status == 200
