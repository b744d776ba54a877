"""The DNS of a pod, and names of the gateway as DNS zones."""

from typing import Any

import pytest

from podpass.account.model import parse_pod
from podpass.lab.names.pod_dns import PodDns, lead_to_resolver
from podpass.lab.names.served_names import find_zone, is_served, list_zones
from tests.admission.conftest import apply_patch
from tests.lab.names.corefiles import SERVED
from tests.lab.names.pods import Object, make_pod

DNS = PodDns(resolver="10.96.3.4")
SEARCHES = ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"]


def _lead(pod: Object, dns: PodDns | None = DNS) -> tuple[Any, list[str]]:
    operations, warnings = lead_to_resolver(parse_pod(pod, "default"), dns)
    return apply_patch(pod, operations)["spec"], warnings


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"dnsPolicy": "ClusterFirst"},
        {"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": True},
        {"dnsPolicy": "ClusterFirstWithHostNet"},
        {"dnsConfig": None, "hostNetwork": False},
    ],
    ids=["default", "cluster", "host", "host-policy", "null"],
)
def test_resolver_replaces_the_dns_of_the_cluster(spec: Object) -> None:
    found, warnings = _lead(make_pod(**spec))
    assert found["dnsPolicy"] == "None"
    assert found["dnsConfig"] == {
        "nameservers": ["10.96.3.4"],
        "searches": SEARCHES,
        "options": [{"name": "ndots", "value": "5"}],
    }
    assert warnings == []


def test_resolver_may_have_an_ipv6_address() -> None:
    dns = PodDns(resolver="fd00:10:96::7")
    found, warnings = _lead(make_pod(dnsConfig={"nameservers": ["fd00:10:96::a"]}), dns)
    assert found["dnsConfig"]["nameservers"] == ["fd00:10:96::7", "fd00:10:96::a"]
    assert warnings == []
    assert _lead(make_pod(**{k: found[k] for k in ("dnsPolicy", "dnsConfig")}), dns) == (found, [])


def test_configuration_of_the_user_is_kept_within_the_limits() -> None:
    config = {
        "nameservers": ["1.1.1.1", "2.2.2.2", "3.3.3.3"],
        "searches": [f"s{n}.example" for n in range(32)],
        "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
    }
    found, _ = _lead(make_pod(dnsConfig=config))
    assert found["dnsConfig"]["nameservers"] == ["10.96.3.4", "1.1.1.1", "2.2.2.2"]
    assert found["dnsConfig"]["searches"][:4] == [*SEARCHES, "s0.example"]
    assert len(found["dnsConfig"]["searches"]) == 32
    assert found["dnsConfig"]["options"] == config["options"]


def test_second_pass_changes_nothing() -> None:
    pod = make_pod()
    operations, _ = lead_to_resolver(parse_pod(pod, "default"), DNS)
    changed = apply_patch(pod, operations)
    assert lead_to_resolver(parse_pod(changed, "default"), DNS) == ([], [])


@pytest.mark.parametrize("dns", [None, DNS], ids=["cluster", "pods"])
@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"hostNetwork": True}, "network of its node"),
        ({"hostNetwork": True, "dnsPolicy": "Default"}, "network of its node"),
        ({"dnsPolicy": "Default"}, "dnsPolicy 'Default'"),
        ({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"]}}, "dnsPolicy 'None'"),
        ({"dnsPolicy": ["x"], "dnsConfig": "x"}, "dnsPolicy"),
    ],
    ids=["host", "host-default", "default", "none", "malformed"],
)
def test_pod_that_does_not_ask_the_cluster_is_unchanged_with_a_warning(
    spec: Object, text: str, dns: PodDns | None
) -> None:
    pod = make_pod(**spec)
    operations, (warning,) = lead_to_resolver(parse_pod(pod, "default"), dns)
    assert operations == []
    assert text in warning
    assert "set dnsPolicy: ClusterFirst" in warning


def test_dns_of_the_cluster_needs_no_patch() -> None:
    assert _lead(make_pod(), None) == (make_pod()["spec"], [])


def test_zones_contain_every_name_once() -> None:
    assert list_zones(SERVED) == (
        *("login.microsoftonline.com", "login.windows.net", "graph.microsoft.com"),
        *("management.azure.com", "vault.azure.net", "oic.prod-aks.azure.com"),
    )


def test_zone_below_another_zone_is_not_listed() -> None:
    assert list_zones(["A.vault.azure.net.", "vault.azure.net"]) == ("vault.azure.net",)


@pytest.mark.parametrize(
    ("name", "served"),
    [
        ("vault.azure.net", True),
        ("demo.vault.azure.net", True),
        ("a.b.vault.azure.net", False),
        (".vault.azure.net", False),
        ("evilvault.azure.net", False),
        ("graph.microsoft.com", True),
        ("beta.graph.microsoft.com", False),
        ("oic.prod-aks.azure.com", False),
        ("", False),
    ],
)
def test_resolver_serves_the_names_that_the_gateway_routes(name: str, served: bool) -> None:
    assert is_served(name, SERVED) is served


def test_zone_of_a_name_is_found_by_whole_labels() -> None:
    zones = list_zones(SERVED)
    assert find_zone("a.b.vault.azure.net", zones) == "vault.azure.net"
    assert find_zone("evilvault.azure.net", zones) is None
    assert find_zone("", zones) is None
