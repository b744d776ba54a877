"""Each rule, with credentials that it finds and credentials that it does not."""

from typing import Any

import pytest

from podpass import names
from podpass.diagnose.lint.model import LintedIdentity, LintFacts
from podpass.diagnose.lint.policies import AKS_ISSUERS, WELL_KNOWN_ISSUERS, Exemption, IssuerPolicy
from podpass.diagnose.lint.rules import RULES, find_all
from podpass.directory.model import FederatedCredential, IdentityKind

GITHUB, GITLAB = "https://token.actions.githubusercontent.com", "https://gitlab.com"
TERRAFORM = "https://app.terraform.io"
TENANT, OBJECT = "11111111-1111-4111-8111-111111111111", "55555555-5555-4555-8555-000000000001"
AKS = f"https://westeurope.oic.prod-aks.azure.com/{TENANT}/{OBJECT}/"
ENTRA = f"https://login.microsoftonline.com/{TENANT}/v2.0"
DEVOPS = f"https://vstoken.dev.azure.com/{TENANT}"
WEB = "system:serviceaccount:default:web"


def credential(**changes: Any) -> FederatedCredential:
    given = {"issuer": AKS, "subject": WEB, "audiences": (names.EXCHANGE_AUDIENCE,), **changes}
    if "expression" in changes:
        given["subject"] = ""
    return FederatedCredential(name="c", **given)


def identity(*credentials: FederatedCredential, **changes: Any) -> LintedIdentity:
    given = {"name": "web", "kind": IdentityKind.MANAGED_IDENTITY, "object_id": OBJECT, **changes}
    return LintedIdentity(credentials=credentials, **given)


def codes(*identities: LintedIdentity, policies: tuple[IssuerPolicy, ...] = ()) -> list[str]:
    facts = LintFacts(identities=identities, policies=policies)
    return [each.code for each in find_all(facts)]


BY_ID = "repo:contoso@1/app@2:ref:refs/heads/main"
# Each row: the only finding, or none; what the credential has.
CASES: list[tuple[str, dict[str, Any]]] = [
    ("", {}),
    ("github_by_name", {"issuer": GITHUB, "subject": "repo:contoso/app:environment:prod"}),
    ("", {"issuer": GITHUB, "subject": BY_ID}),
    (
        "",
        {"issuer": GITHUB, "subject": "repository_owner_id:1:repository_id:2:ref:refs/heads/main"},
    ),
    (
        "github_by_name",
        {
            "issuer": GITHUB,
            "expression": "claims['sub'] matches 'repo:contoso/*' and claims['repository_owner_id'] eq '1'",
        },
    ),
    (
        "",
        {
            "issuer": GITHUB,
            "expression": "claims['sub'] matches 'repo:contoso@1/app@2:*' and claims['repository_id'] eq '2'",
        },
    ),
    # The id of the owner fixes what the pattern does not.
    (
        "github_by_name",
        {
            "issuer": GITHUB,
            "expression": "claims['sub'] matches 'repo:contoso*' and claims['repository_owner_id'] eq '1'",
        },
    ),
    ("", {"subject": "repo:contoso/app:environment:prod"}),
    ("gitlab_by_path", {"issuer": GITLAB, "subject": "project_path:a/b:ref_type:branch:ref:main"}),
    ("", {"issuer": GITLAB, "subject": "project_id:7:ref_type:branch:ref:main"}),
    ("", {"issuer": GITLAB, "expression": "claims['sub'] matches 'project_id:7:*'"}),
    ("open_pattern", {"issuer": GITLAB, "expression": "claims['sub'] matches 'project_id:7*'"}),
    ("connection_by_name", {"issuer": DEVOPS, "subject": "sc://contoso/app/azure"}),
    ("wildcard_in_subject", {"subject": "system:serviceaccount:default:*"}),
    ("wildcard_in_subject", {"subject": "system:serviceaccount:default:we?"}),
    (
        "open_pattern",
        {"issuer": TERRAFORM, "expression": "claims['sub'] matches 'organization:con*'"},
    ),
    ("", {"issuer": TERRAFORM, "expression": "claims['sub'] matches 'organization:con:project:*'"}),
    ("", {"issuer": TERRAFORM, "expression": "claims['sub'] eq 'organization:con'"}),
    (
        "expression_refused",
        {"expression": "claims['sub'] matches 'system:serviceaccount:env-*:web'"},
    ),
    ("expression_refused", {"issuer": TERRAFORM, "expression": "claims['aud'] eq 'x'"}),
    ("expression_refused", {"issuer": TERRAFORM, "expression": "claims.sub"}),
    ("issuer_differs", {"issuer": GITHUB + "/", "subject": BY_ID}),
    ("issuer_differs", {"issuer": GITHUB.replace("token", "Token"), "subject": BY_ID}),
    ("issuer_differs", {"issuer": AKS.removesuffix("/")}),
    ("issuer_differs", {"issuer": f"{TERRAFORM}/"}),
    ("issuer_differs", {"issuer": f"{DEVOPS}/"}),
    ("issuer_differs", {"issuer": f"{ENTRA}/", "subject": "x"}),
    ("", {"issuer": "https://issuer.example/"}),
    ("wrong_audience", {"audiences": (names.EXCHANGE_AUDIENCE, "b")}),
    ("wrong_audience", {"audiences": ()}),
    ("wrong_audience", {"audiences": ("fb60f99c-7a34-4190-8149-302f77469936",)}),
]


@pytest.mark.parametrize(("code", "changes"), CASES)
def test_rule_finds_exactly_what_it_is_for(code: str, changes: dict[str, Any]) -> None:
    assert codes(identity(credential(**changes))) == ([code] if code else [])


def test_each_rule_of_the_table_has_a_case() -> None:
    policies = {"policy_refuses_issuer", "policy_not_enforced", "policy_exempted"}
    with_policies = {*policies, "second_hop"}
    assert {each.code for each in RULES} - with_policies == {code for code, _ in CASES} - {""}


def test_identity_with_21_credentials_is_a_finding() -> None:
    assert codes(identity(*[credential()] * 20)) == []
    assert codes(identity(*[credential()] * 21)) == ["too_many_credentials"]


def test_application_that_trusts_a_federated_identity_is_a_second_hop() -> None:
    hop = credential(issuer=ENTRA, subject=OBJECT.upper())
    application = identity(hop, name="app", kind=IdentityKind.APPLICATION, object_id="x")
    assert codes(identity(credential()), application) == ["second_hop"]
    # The identity signs in without a credential: on a virtual machine.
    assert codes(identity(), application) == []
    assert codes(identity(credential(), object_id=TENANT), application) == []
    # A seed has no object ids.
    assert codes(identity(credential(), object_id=""), application) == ["second_hop"]
    assert codes(identity(hop, kind=IdentityKind.APPLICATION, object_id="")) == []
    other = identity(credential(issuer="https://other.example/", subject=OBJECT), name="app")
    assert codes(identity(credential()), other) == []
    other = identity(credential(issuer=ENTRA, subject="/eid1/c/pub/t/a/b"), name="app")
    assert codes(identity(credential(), object_id=""), other) == []


OPEN = {"allowFederatedCredentials": True}


@pytest.mark.parametrize(
    ("definition", "parameters", "issuer", "reason"),
    [
        (WELL_KNOWN_ISSUERS, {}, AKS, "allowFederatedCredentials is false"),
        (WELL_KNOWN_ISSUERS, OPEN, AKS, "allowAKS is false"),
        (WELL_KNOWN_ISSUERS, {**OPEN, "allowAKS": True}, AKS.upper(), None),
        # Exceptions are only for issuers without a switch.
        (WELL_KNOWN_ISSUERS, {**OPEN, "allowedIssuerExceptions": (AKS,)}, AKS, "allowAKS is false"),
        (WELL_KNOWN_ISSUERS, OPEN, GITHUB, "allowGitHub is false"),
        (WELL_KNOWN_ISSUERS, {**OPEN, "allowGitHub": True}, GITHUB, None),
        (WELL_KNOWN_ISSUERS, OPEN, "https://cognito-identity.amazonaws.com", "allowAWS is false"),
        (WELL_KNOWN_ISSUERS, OPEN, "https://accounts.google.com", "allowGCS is false"),
        (WELL_KNOWN_ISSUERS, OPEN, GITLAB, "the issuer is not in allowedIssuerExceptions"),
        (WELL_KNOWN_ISSUERS, {**OPEN, "allowedIssuerExceptions": (GITLAB.upper(),)}, GITLAB, None),
        (AKS_ISSUERS, {}, AKS, None),
        (
            AKS_ISSUERS,
            {"allowedTenants": (TENANT,), "allowedLocations": ("westEurope",)},
            AKS,
            None,
        ),
        (AKS_ISSUERS, {"allowedTenants": (OBJECT,)}, AKS, f"{TENANT} is not in allowedTenants"),
        (AKS_ISSUERS, {"allowedLocations": ("us",)}, AKS, "westeurope is not in allowedLocations"),
        (
            AKS_ISSUERS,
            {"allowedLocations": ("us",), "allowedClusterExceptions": (OBJECT,)},
            AKS,
            None,
        ),
        (AKS_ISSUERS, {"allowedLocations": ("us",)}, GITLAB, None),
        (AKS_ISSUERS, {"allowedTenants": (OBJECT,)}, "x", None),
    ],
)
def test_policy_refuses_issuers_by_its_parameters(
    definition: str, parameters: dict[str, Any], issuer: str, reason: str | None
) -> None:
    policy = IssuerPolicy(definition=definition, parameters=parameters)
    assert policy.find_refusal(issuer) == reason


def test_policies_are_for_managed_identities_and_enabled_assignments() -> None:
    policy = IssuerPolicy(definition=WELL_KNOWN_ISSUERS, parameters={})
    disabled = IssuerPolicy(definition=WELL_KNOWN_ISSUERS, parameters={"effect": "Disabled"})
    web = identity(credential())
    assert codes(web, policies=(disabled, policy)) == ["policy_refuses_issuer"]
    assert codes(web, policies=(disabled,)) == []
    application = identity(credential(), kind=IdentityKind.APPLICATION)
    assert codes(application, policies=(policy,)) == []
    # The issuer of this instance, in a seed.
    assert codes(identity(credential(issuer="cluster")), policies=(policy,)) == []


GROUP = "/subscriptions/s/resourceGroups/g"
WEB_ID = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/web"


@pytest.mark.parametrize(
    ("scope", "excluded", "is_refused"),
    [
        ("", (), True),
        ("/providers/Microsoft.Management/managementGroups/m", (), True),
        ("/subscriptions/s", (), True),
        (GROUP.upper().replace("/SUBSCRIPTIONS", "/subscriptions"), (), True),
        ("/subscriptions/s/resourceGroups/other", (), False),
        ("/subscriptions/s", (GROUP,), False),
        ("/providers/Microsoft.Management/managementGroups/m", ("/subscriptions/s",), False),
        ("/subscriptions/s", ("/subscriptions/s/resourceGroups/gg",), True),
    ],
)
def test_policy_applies_in_its_scope_alone(
    scope: str, excluded: tuple[str, ...], is_refused: bool
) -> None:
    policy = IssuerPolicy(
        definition=WELL_KNOWN_ISSUERS, parameters={}, scope=scope, excluded=excluded
    )
    found = codes(identity(credential(), resource_id=WEB_ID), policies=(policy,))
    assert found == (["policy_refuses_issuer"] if is_refused else [])


@pytest.mark.parametrize(
    ("scope", "is_exempt"),
    [
        ("/providers/Microsoft.Management/managementGroups/m", True),
        (GROUP, True),
        (f"{WEB_ID}/federatedIdentityCredentials/c", True),
        (f"{WEB_ID}/federatedIdentityCredentials/other", False),
        ("/subscriptions/s/resourceGroups/other", False),
    ],
)
@pytest.mark.parametrize("is_enforced", [True, False])
def test_exemption_of_the_scope_and_no_enforcement_change_the_level(
    scope: str, is_exempt: bool, is_enforced: bool
) -> None:
    policy = IssuerPolicy(
        definition=WELL_KNOWN_ISSUERS,
        parameters={},
        assignment="/subscriptions/s/a",
        exemptions=(Exemption(scope=scope, text="legacy (Waiver)"),),
        is_enforced=is_enforced,
    )
    web = identity(credential(), resource_id=WEB_ID)
    [found] = find_all(LintFacts(identities=[web], policies=[policy]))
    start = f"the policy {WELL_KNOWN_ISSUERS}, assigned by /subscriptions/s/a, "
    assert found.message.startswith(start)
    if is_exempt:
        assert (found.code, found.level) == ("policy_exempted", "note")
        assert f"the exemption legacy (Waiver) of {scope} applies" in found.message
    elif is_enforced:
        assert (found.code, found.level) == ("policy_refuses_issuer", "error")
    else:
        assert (found.code, found.level) == ("policy_not_enforced", "warning")
        assert "its enforcementMode is DoNotEnforce" in found.message


def test_exemption_from_one_policy_leaves_the_refusal_of_another() -> None:
    exempt = IssuerPolicy(
        definition=WELL_KNOWN_ISSUERS, parameters={}, exemptions=(Exemption(scope=GROUP, text="x"),)
    )
    other = IssuerPolicy(definition=WELL_KNOWN_ISSUERS, parameters={})
    web = identity(credential(), resource_id=WEB_ID)
    assert codes(web, policies=(exempt, other)) == ["policy_refuses_issuer", "policy_exempted"]
