"""Names of the gateway as DNS zones."""

import pytest

from podpass.lab.names.served_names import find_zone, is_served, list_zones
from tests.lab.names.corefiles import SERVED


def test_zones_contain_every_name_once() -> None:
    assert list_zones(SERVED) == (
        "login.microsoftonline.com",
        "login.windows.net",
        "graph.microsoft.com",
        "management.azure.com",
        "vault.azure.net",
        "oic.prod-aks.azure.com",
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
