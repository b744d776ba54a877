"""The request for a device code: the order of its checks, and Graph with another origin."""

import logging
from typing import Any

import pytest

from podpass.directory.model import ResourcePrincipal
from podpass.directory.resources import GRAPH_APP_ID, Resources
from podpass.exchange.sign_in.sign_in import DEVICE_STEPS
from tests.exchange.sign_in.browser import AZ
from tests.exchange.world import World

DIRECT = "https://localhost:20443"


@pytest.mark.parametrize(
    ("fixed", "number"), [(0, 9001023), (1, 900144), (2, 700016), (3, 7000218), (4, 700022)]
)
async def test_first_failed_check_determines_error(world: World, fixed: int, number: int) -> None:
    """The request has all errors; each case fixes one more of them."""
    tenant = world.TENANT if fixed > 0 else "consumers"
    scope = "https://a.test/.default https://b.test/.default" if fixed > 1 else ""
    client = world.APPLICATION if fixed > 2 else world.TENANT
    if fixed > 3:
        await world.change(world.APPLICATION, document={"isFallbackPublicClient": True})
    path = f"/{tenant}/oauth2/v2.0/devicecode"
    assert (await world.post(path, client_id=client, scope=scope)).code == number


async def test_log_of_a_device_code_request_lists_the_checked_steps(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="podpass"):
        await world.post("/common/oauth2/v2.0/devicecode", client_id=AZ, scope="openid")
    [line] = [one for one in caplog.records if one.message == "device_code_issued"]
    assert tuple(vars(line)["checked"]) == DEVICE_STEPS
    assert vars(line)["client_id"] == AZ


async def test_graph_with_another_origin_has_graph_permissions(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise `az` without the gateway has no permission in Graph."""
    direct = ResourcePrincipal(
        app_id=GRAPH_APP_ID, uris=(DIRECT,), display_name="Graph", token_version=1
    )
    store: Any = world.directory
    monkeypatch.setattr(store, "_resources", Resources([direct]))
    answer = await world.post(
        f"/{world.TENANT}/oauth2/v2.0/token",
        grant_type="password",
        client_id=AZ,
        username=world.ADMIN,
        password=world.PASSWORD,
        scope=f"{DIRECT}/.default",
    )
    assert answer.status == 200, answer.body
    assert answer.claims()["aud"] == DIRECT
    assert "Directory.AccessAsUser.All" in answer.claims()["scp"].split()
