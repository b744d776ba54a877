"""Derived names: the reference's vectors, and limits."""

import re

import pytest

from podpass.provision import naming

ISSUER = "https://test.blob.core.windows.net/oidc-test/"


def test_names_equal_those_of_the_reference() -> None:
    assert naming.hash_issuer("") == "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU="
    assert naming.hash_issuer(ISSUER) == "foWt5lYFJx_-XwBetmnSltvWY5J_nenUV-2c3Lqes3o="
    named = naming.derive_credential_name("oidc", "pod-identity-sa", ISSUER)
    assert named == "5Frx_q5PpeP09cXWfkbDVwCOg5IVRmmKE3BUKT4hP4I="
    assert (
        naming.derive_credential_name("", "", "") == "2BVrrgxCQ9N0L8Tpd02KzqvgQQJJ1yDIVfmK_Ij_hGw="
    )
    issuer = "service-account-issuer-url"
    assert (
        naming.derive_application_name("service-account-namespace", "service-account-name", issuer)
        == "service-account-namespace-service-account-name-t4BxHnnPeJsOfTLIBFbdKeRHdVMaIRdxwkxwF13SvKw="
    )


def test_credential_name_of_a_managed_identity_is_accepted_by_resource_manager() -> None:
    long = naming.derive_managed_credential_name("n" * 63, "a" * 253, ISSUER)
    assert len(long) <= 120
    dotted = naming.derive_managed_credential_name("default", "a.b", ISSUER)
    assert dotted.startswith("default-a-b-")
    assert dotted != naming.derive_managed_credential_name("default", "a-b", ISSUER)
    assert dotted != naming.derive_managed_credential_name("default", "a.b", ISSUER[:-1])


def test_assignment_name_depends_on_scope_role_and_principal_only() -> None:
    role = "/subscriptions/s/providers/Microsoft.Authorization/roleDefinitions/R"
    named = naming.derive_assignment_name("/subscriptions/S", role, "P")
    assert named == naming.derive_assignment_name("/Subscriptions/s", "/x/r", "p")
    assert named != naming.derive_assignment_name("/subscriptions/S", role, "Q")
    assert named != naming.derive_assignment_name("/subscriptions/T", role, "P")
    assert named != naming.derive_assignment_name("/subscriptions/S", role + "2", "P")


GUID = "22222222-aaaa-4bbb-8ccc-000000000001"
ASSIGNMENTS = "/subscriptions/x/providers/Microsoft.Authorization/roleAssignments"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("namespace", "kube-system"),
        ("account", "a.b-c"),
        ("issuer", ISSUER),
        ("application", "it's an app"),
        ("identity", "id_1-x"),
        ("group", "rg(1).x"),
        ("group", "gruppe-ä"),
        ("scope", f"/subscriptions/{GUID}"),
        ("scope", "/providers/Microsoft.Management/managementGroups/g"),
        ("scope", f"/subscriptions/{GUID}/resourceGroups/my rg/providers/A.B/c/d"),
        ("assignment", f"{ASSIGNMENTS}/{GUID}"),
        ("assignment", f"/providers/Microsoft.Authorization/roleAssignments/{GUID}"),
    ],
)
def test_valid_value_has_no_problem(field: str, value: str) -> None:
    assert naming.find_problem(field, value) == ""


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("namespace", "n" * 64),
        ("namespace", "UPPER"),
        ("namespace", "a/b"),
        ("account", "a" * 254),
        ("account", "../secrets/x"),
        ("issuer", "http://x/"),
        ("issuer", "https://x/" + "y" * 600),
        ("issuer", "https://x/ y"),
        ("application", "a" * 257),
        ("application", "a\nb"),
        ("identity", "ab"),
        ("identity", "a" * 129),
        ("identity", "_abc"),
        ("identity", "a/b/c"),
        ("group", "g" * 91),
        ("group", "g."),
        ("group", "a/b"),
        ("scope", "subscriptions/x"),
        ("scope", "/subscriptions/x/../y"),
        ("scope", "/subscriptions/x?y"),
        ("scope", "/subscriptions/x#y"),
        ("scope", "/subscriptions/x%2fy"),
        ("scope", "/subscriptions//x"),
        ("assignment", f"{ASSIGNMENTS}/{GUID}/x"),
        ("assignment", f"{ASSIGNMENTS}/x"),
        ("assignment", f"/a/../{ASSIGNMENTS}/{GUID}"),
        ("assignment", f"/subscriptions/x/resourceGroups/{GUID}"),
    ],
)
def test_invalid_value_has_a_problem(field: str, value: str) -> None:
    assert naming.find_problem(field, value) != ""


@pytest.mark.parametrize(
    ("account", "taken", "is_account"),
    [
        ("web", (), True),
        ("web", ("other",), True),
        ("web", ("Web",), False),
        ("we", (), False),
        ("web.app", (), False),
        ("w" * 121, (), False),
    ],
)
def test_name_of_an_additional_credential_is_valid_and_unused(
    account: str, taken: tuple[str, ...], is_account: bool
) -> None:
    name = naming.choose_credential_name("shop", account, "https://issuer.example/", taken)
    assert (name == account) is is_account
    assert re.fullmatch("[A-Za-z0-9][A-Za-z0-9_-]{2,119}", name)
