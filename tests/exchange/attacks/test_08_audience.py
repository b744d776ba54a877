"""Group 8: the audience in every JSON type and spelling."""

import pytest

from tests.exchange.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")
OURS = "api://AzureADTokenExchange"


@pytest.mark.parametrize("aud", [OURS, [OURS], ["a", OURS], [OURS, "a"], [OURS, OURS]])
async def test_audience_as_string_or_in_a_list_is_accepted(shared: World, aud: object) -> None:
    assert (await shared.present(shared.mint(aud=aud))).status == 200


@pytest.mark.parametrize(
    ("aud", "code"),
    [
        ("api://azureadtokenexchange", 700212),
        ("API://AzureADTokenExchange", 700212),
        ("api://AzureADTokenExchange/", 700212),
        (" api://AzureADTokenExchange", 700212),
        ("api://AzureADTokenExchange\0", 700212),
        ("api://AzureADTokenExchange a", 700212),
        ("a,api://AzureADTokenExchange", 700212),
        ("api://AzureADTokenExchangeUSGov", 700212),
        ("api://AzureADTokenExchang", 700212),
        ("*", 700212),
        (["a", "b"], 700212),
        (["a", f"{OURS} "], 700212),
        ("", 90014),
        ([], 90014),
        ([[]], 90014),
        ([""], 90014),
        (["", OURS], 90014),
        ([OURS, 5], 90014),
        ([OURS, None], 90014),
        ({OURS: 1}, 90014),
        ({}, 90014),
        ([[OURS]], 90014),
        (5, 90014),
        (True, 90014),
    ],
)
async def test_any_other_audience_is_refused(shared: World, aud: object, code: int) -> None:
    assert (await shared.present(shared.mint(aud=aud))).code == code


async def test_token_without_audience_is_refused(shared: World) -> None:
    assert (await shared.present(shared.mint(aud=None))).code == 90014


@pytest.mark.parametrize(
    "audience", ["https://kubernetes.default.svc.cluster.local", "kubernetes.default.svc"]
)
async def test_token_for_the_cluster_is_refused_by_the_exchange(
    shared: World, audience: str
) -> None:
    """Every pod has a token for the cluster by default; a token for the exchange has to be requested."""
    answer = await shared.present(shared.mint(aud=[audience]))
    assert (answer.status, answer.code) == (401, 700212)
