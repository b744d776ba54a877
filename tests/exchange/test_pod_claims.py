"""Tokens of ServiceAccounts that are not bound to a pod, with the setting that refuses them."""

from typing import Any

import pytest

from podpass import names
from podpass.directory.model import FederatedCredential
from tests.exchange.world import ISSUER, Start

POD = {"namespace": "default", "pod": {"name": "web-1", "uid": "u"}}
PIPELINE = "repo:contoso@1/app@2:ref:refs/heads/main"


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"kubernetes.io": POD}, None),
        ({}, 90014),
        ({"kubernetes.io": None}, 90014),
        ({"kubernetes.io": {**POD, "pod": {"uid": "u"}}}, 90014),
        ({"kubernetes.io": "web-1"}, 90014),
    ],
)
async def test_token_that_is_not_bound_to_a_pod_is_refused_by_the_setting(
    start: Start, claims: dict[str, Any], code: int | None
) -> None:
    world = await start(require_pod_claims=True)
    answer = await world.present(world.mint(**claims))
    if code is None:
        assert answer.status == 200
    else:
        assert answer.code == code
        assert "'kubernetes.io.pod' is missing" in answer.body["error_description"]


async def test_tokens_of_pipelines_need_no_pod(start: Start) -> None:
    world = await start(require_pod_claims=True)
    credential = FederatedCredential(
        name="pipeline", issuer=ISSUER, subject=PIPELINE, audiences=(names.EXCHANGE_AUDIENCE,)
    )
    await world.directory.identities.put_credential(world.TENANT, world.CLIENT, credential)
    token = world.mint(sub=PIPELINE)
    assert (await world.present(token)).status == 200


async def test_credential_must_match_before_the_pod_is_checked(start: Start) -> None:
    world = await start(require_pod_claims=True)
    token = world.mint(sub="system:serviceaccount:default:other")
    assert (await world.present(token)).code == 700213
