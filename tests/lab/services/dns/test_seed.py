"""DNS zones of a seed file: stored once, with their roles."""

import pytest

from podpass.directory.model import OtherResource, ResourceGroup
from podpass.errors import UsageError
from podpass.lab.services import list_install_warnings
from podpass.lab.services.dns.model import TYPE
from podpass.lab.services.dns.store import DnsZones
from tests.seed.test_seed import SUBSCRIPTION, World, world

__all__ = ["world"]

SEED = """identities:
- {name: web}
dns_zones:
- name: Example.test
  access:
  - {identity: web, role: dns zone contributor}
"""
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/podpass"
ZONE = f"{GROUP}/providers/{TYPE}/example.test"


async def test_zones_of_a_seed_are_stored_once_with_their_roles(world: World) -> None:
    assert await world.apply(SEED) == [
        "identity web created",
        "DNS zone example.test created",
        "role DNS Zone Contributor on example.test for web created",
    ]
    assert await world.apply(SEED) == []
    stored = await world.directory.other_resources.get(ZONE)
    assert stored is not None
    assert (stored.type, stored.location) == (TYPE, "global")
    assert [one.scope for one in await world.directory.assignments.list()] == [ZONE.lower()]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("dns_zones:\n- {name: example}\n", "want two or more labels"),
        ("dns_zones:\n- {name: example.test.}\n", "without a trailing dot"),
        ("dns_zones:\n- {name: a.test, location: eastus}\n", "location"),
        ("dns_zones:\n- {name: a.test}\n- {name: A.test}\n", "already in line 2"),
        (
            "dns_zones:\n- name: a.test\n  access: [{identity: missing, role: Reader}]\n",
            "DNS zone a.test: access: no identity 'missing'",
        ),
        (
            "dns_zones:\n- name: a.test\n  access: [{identity: web, role: DNS Contributor}]\n",
            "role 'DNS Contributor' does not exist; did you mean DNS Zone Contributor or ",
        ),
    ],
    ids=["one-label", "dot", "location", "twice", "identity", "role"],
)
async def test_invalid_zone_is_refused_with_its_line(world: World, text: str, problem: str) -> None:
    with pytest.raises(UsageError) as refused:
        await world.apply(text)
    assert problem in refused.value.message
    assert await world.directory.other_resources.page(SUBSCRIPTION) == []


async def test_zone_of_another_resource_group_is_refused(world: World) -> None:
    other = GROUP.replace("podpass", "other")
    group = ResourceGroup(subscription_id=SUBSCRIPTION, name="other", location="eastus")
    await world.directory.groups.put(group)
    await world.directory.store(DnsZones).put(
        OtherResource(
            resource_id=f"{other}/providers/{TYPE}/example.test",
            type=TYPE,
            name="example.test",
            location="global",
        )
    )
    with pytest.raises(UsageError, match=r"example\.test: another resource group has this zone"):
        await world.apply(SEED)


def test_dns_zones_of_a_seed_that_pods_do_not_resolve_are_a_warning() -> None:
    seed = "dns_zones: [{name: Example.org}, {name: example.net}]\n"
    (warning,) = list_install_warnings(seed, "cluster")
    assert "(example.org, example.net)" in warning
    assert "--dns pods" in warning
    assert list_install_warnings(seed, "none") == [warning]
    assert list_install_warnings(seed, "pods") == []
    assert list_install_warnings("vaults: []", "cluster") == []
    assert list_install_warnings("", "cluster") == []
