"""Checks of facts that no object of an instance produces: expressions, several tenants, clocks, refusals."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from podpass.diagnose.doctor.checks import CHECKS, examine
from podpass.diagnose.doctor.cloud_checks import CHECKS as CLOUD_CHECKS
from podpass.diagnose.doctor.cloud_facts import CloudReader
from podpass.diagnose.doctor.directory_facts import (
    CallerDirectory,
    RequestedResource,
    parse_requested_resource,
)
from podpass.diagnose.doctor.model import (
    AuthorityFacts,
    CloudFacts,
    ClusterFacts,
    Diagnosis,
    DirectoryIdentity,
    ExchangeFacts,
    Facts,
    PodToken,
    ResourceFacts,
)
from podpass.diagnose.doctor.pods import find_manifest, find_vault
from podpass.diagnose.explain.recognition import recognize
from podpass.directory.model import FederatedCredential
from podpass.errors import UsageError
from podpass.facts import Unread
from podpass.kubernetes.objects import Preview
from podpass.provision.account import AzureAccount
from podpass.provision.connection import RequestLimits
from podpass.provision.endpoints import find_endpoints
from tests.diagnose.doctor.broken_cluster import STOPPED, build_status
from tests.provision.api_server import ScriptedResponse, scripted_api
from tests.tunnel import connect_proxy

TENANT = "11111111-aaaa-4bbb-8ccc-0000000000aa"
OTHER_TENANT = "11111111-aaaa-4bbb-8ccc-0000000000bb"
CLIENT = "11111111-aaaa-4bbb-8ccc-000000000001"
ISSUER = "https://issuer.example/"
SUBJECT = "system:serviceaccount:default:web"
AUDIENCE = "api://AzureADTokenExchange"
NOW = 1_800_000_000.0
_UNREAD = Unread("not part of this test")
TRUST = FederatedCredential(name="trust", issuer=ISSUER, subject=SUBJECT, audiences=(AUDIENCE,))
TOKEN = PodToken(
    issuer=ISSUER,
    subject=SUBJECT,
    audiences=(AUDIENCE,),
    issued=NOW,
    expires=NOW + 3600,
    key_id="key-1",
)
APPLICATION = DirectoryIdentity(
    name="web", client_id=CLIENT, principal_id="p", application_id="a", owner_tenant=TENANT
)


def _cluster(tenant: str = TENANT, **variables: str) -> ClusterFacts:
    given = {"AZURE_CLIENT_ID": CLIENT, "AZURE_TENANT_ID": tenant, **variables}
    env = [{"name": name, "value": value} for name, value in given.items()]
    return ClusterFacts(
        now=NOW,
        server="https://cluster.example",
        namespace_name="default",
        account_name="web",
        namespace={},
        account={},
        registrations=(),
        preview=Preview(pod={"spec": {"containers": [{"name": "app", "env": env}]}}),
        discovery={"issuer": ISSUER},
        jwks=_UNREAD,
    )


CLOUD = CloudFacts(
    cloud="AzureCloud",
    login_hosts=("login.microsoftonline.com",),
    audience=AUDIENCE,
    tenant_id=TENANT,
    issuer=_UNREAD,
    authority=AuthorityFacts(url="", tenant_id=TENANT, now=NOW),
    identity=APPLICATION,
    credentials=(TRUST,),
    exchange=ExchangeFacts(token=TOKEN, status=200),
)


def _examine(cloud: CloudFacts = CLOUD, cluster: ClusterFacts | None = None) -> Diagnosis:
    """Return the results of the cloud half."""
    found = examine(Facts(cluster=cluster or _cluster(), cloud=cloud))
    ids = {"identity-unknown", *(each.id for each in CLOUD_CHECKS)}
    return replace(found, findings=[each for each in found.findings if each.check in ids])


def _named(found: Diagnosis) -> list[str]:
    return [each.check for each in found.findings]


def test_correct_facts_have_no_findings() -> None:
    assert _named(_examine()) == []


def test_ids_of_checks_are_unique() -> None:
    ids = [each.id for each in CHECKS]
    assert len(set(ids)) == len(ids)


FLEXIBLE = replace(TRUST, subject="", expression=f"claims['sub'] matches '{SUBJECT[:-2]}*'")
OTHER = replace(FLEXIBLE, expression="claims['sub'] matches 'system:serviceaccount:x-*:web'")
REFUSED = ExchangeFacts(token=TOKEN, status=401, number=700213)


@pytest.mark.parametrize(
    ("credentials", "finding"),
    [
        ((FLEXIBLE,), "credential-flexible"),
        ((OTHER,), "credential-flexible"),
        # A version of an API that shows no expression.
        ((replace(FLEXIBLE, expression=""),), "credential-flexible"),
        ((replace(TRUST, issuer="https://x"), FLEXIBLE), "credential-flexible"),
        ((TRUST, FLEXIBLE), "credential-not-visible"),
        (
            (replace(TRUST, subject="x"), replace(OTHER, issuer="https://git.example")),
            "credential-subject-differs",
        ),
    ],
)
def test_flexible_credential_is_reported_only_if_no_other_one_is_meant(
    credentials: Sequence[FederatedCredential], finding: str
) -> None:
    assert _named(_examine(replace(CLOUD, credentials=credentials, exchange=REFUSED))) == [finding]


@pytest.mark.parametrize("credential", [FLEXIBLE, replace(FLEXIBLE, expression="")])
def test_flexible_credential_that_the_exchange_accepted_is_right(
    credential: FederatedCredential,
) -> None:
    assert _named(_examine(replace(CLOUD, credentials=(credential,)))) == []


def test_token_service_with_the_extension_accepts_expressions_of_the_cluster() -> None:
    extended = AuthorityFacts(url="", tenant_id=TENANT, now=NOW, has_flexible_kubernetes=True)
    unread = replace(CLOUD, exchange=_UNREAD, credentials=(FLEXIBLE,))
    assert "credential-flexible" in _named(_examine(unread))
    assert "credential-flexible" not in _named(_examine(replace(unread, authority=extended)))


def test_clause_that_does_not_match_is_reported_letter_by_letter() -> None:
    mismatch = replace(REFUSED, number=7002131)
    found = _examine(replace(CLOUD, credentials=(OTHER,), exchange=mismatch))
    assert _named(found) == ["credential-expression-differs"]
    assert found.findings[0].message == (
        "a clause of its expression does not match: claims['sub'] matches 'system:serviceaccount:x-*:web': "
        f"the token has '{SUBJECT}', which differs at character 23"
    )


def test_credential_limit_is_reported_only_if_no_credential_is_similar() -> None:
    others = [replace(TRUST, name=f"n{n}", subject=f"{SUBJECT}-{n}x9") for n in range(19)]
    near = (*others, replace(TRUST, subject=SUBJECT.upper()))
    assert _named(_examine(replace(CLOUD, credentials=near)))[0] == "credential-subject-differs"
    far = (*others, replace(TRUST, subject="system:serviceaccount:shop:cart"))
    assert _named(_examine(replace(CLOUD, credentials=far)))[0] == "credential-limit"


@pytest.mark.parametrize(
    ("times", "finding"),
    [
        ({"issued": NOW - 60, "expires": NOW - 60 + 25 * 3600}, None),
        ({"issued": NOW - 60, "expires": NOW - 59 + 25 * 3600}, "token-lives-too-long"),
        ({"issued": NOW + 300}, None),
        ({"issued": NOW + 301}, "token-not-yet-valid"),
    ],
)
def test_token_that_lives_too_long_or_is_not_yet_valid_is_reported(
    times: dict[str, float], finding: str | None
) -> None:
    exchange = ExchangeFacts(token=replace(TOKEN, **times), status=200)  # type: ignore[arg-type]
    assert _named(_examine(replace(CLOUD, exchange=exchange))) == ([finding] if finding else [])


def test_token_times_are_compared_with_the_clock_of_the_token_service() -> None:
    cluster = replace(_cluster(), now=NOW - 7200)
    assert _named(_examine(CLOUD, cluster)) == []
    unread = replace(CLOUD, authority=_UNREAD)
    assert _named(_examine(unread, cluster)) == ["token-not-yet-valid"]


@pytest.mark.parametrize(
    ("identity", "finding"),
    [
        (APPLICATION, "tenant-of-other-identity"),
        (replace(APPLICATION, owner_tenant=OTHER_TENANT), None),
        (replace(APPLICATION, application_id="", resource_id="/x"), "tenant-of-other-identity"),
    ],
)
def test_pod_tenant_that_differs_from_the_tenant_of_the_identity_is_reported(
    identity: DirectoryIdentity, finding: str | None
) -> None:
    authority = AuthorityFacts(url="", tenant_id=OTHER_TENANT)
    cloud = replace(CLOUD, authority=authority, identity=identity)
    named = _named(_examine(cloud, _cluster(OTHER_TENANT)))
    assert named == ([finding] if finding else [])


def test_tenant_by_domain_name_is_compared_by_its_id() -> None:
    assert _named(_examine(CLOUD, _cluster("contoso.onmicrosoft.com"))) == []


def _reason(found: Diagnosis, check: str) -> str:
    return next(each.reason for each in found.not_checked if each.check == check)


def test_identity_in_an_unread_tenant_is_not_reported_as_missing() -> None:
    authority = AuthorityFacts(url="", tenant_id=OTHER_TENANT)
    cloud = replace(CLOUD, authority=authority, identity=None, credentials=_UNREAD)
    found = _examine(cloud, _cluster(OTHER_TENANT))
    assert _named(found) == []
    assert OTHER_TENANT in _reason(found, "identity-unknown")
    assert _named(_examine(replace(cloud, is_only_directory=True), _cluster(OTHER_TENANT))) == [
        "identity-unknown"
    ]


def test_authority_of_an_unread_cloud_is_not_reported_as_wrong() -> None:
    cluster = _cluster(AZURE_AUTHORITY_HOST="https://login.microsoftonline.us/")
    cloud = replace(CLOUD, authority=_UNREAD, identity=None, credentials=_UNREAD, exchange=_UNREAD)
    found = _examine(cloud, cluster)
    assert _named(found) == []
    assert "--azure-env AzureUSGovernment" in _reason(found, "authority-of-other-cloud")


def test_audience_of_another_cloud_is_reported() -> None:
    usgov = f"{AUDIENCE}USGov"
    token = replace(TOKEN, audiences=(usgov,))
    cloud = replace(
        CLOUD,
        credentials=(replace(TRUST, audiences=(usgov,)),),
        exchange=ExchangeFacts(token=token, status=200),
    )
    found = _examine(cloud)
    assert _named(found) == ["audience-of-other-cloud"]
    assert "the token is for AzureUSGovernment" in found.findings[0].message


@pytest.mark.parametrize(
    ("number", "credentials", "finding"),
    [
        (70025, (TRUST,), ["credential-not-visible"]),
        (700213, (TRUST,), ["credential-not-visible"]),
        (700213, _UNREAD, ["exchange-refused"]),
        (53003, (TRUST,), ["exchange-refused"]),
        (0, (TRUST,), ["exchange-refused"]),
    ],
)
def test_refused_exchange_is_reported_with_its_check(
    number: int, credentials: Sequence[FederatedCredential] | Unread, finding: list[str]
) -> None:
    exchange = ExchangeFacts(token=TOKEN, status=401, number=number, message="refused")
    found = _examine(replace(CLOUD, credentials=credentials, exchange=exchange))
    assert _named(found) == finding
    assert all(each.fix for each in found.findings)


def test_hostile_directory_names_are_escaped_in_messages_and_commands() -> None:
    name = "x'; rm -rf ~ #\n\x1b[31m"
    hostile = replace(TRUST, name=name, subject=SUBJECT.upper())
    identity = replace(APPLICATION, name=name)
    found = _examine(replace(CLOUD, credentials=(hostile,), identity=identity))
    [finding] = found.findings
    for text in (finding.object, finding.message, finding.fix):
        assert text.isprintable()
    assert "--federated-credential-id 'x'\"'\"'; rm -rf ~ #" in finding.fix


def test_vault_that_another_subscription_may_have_is_not_reported_as_missing() -> None:
    resource = ResourceFacts(title="vault shop", exists=False)
    found = _examine(replace(CLOUD, resource=resource))
    assert _named(found) == []
    assert "pass the resource id" in _reason(found, "vault-unknown")


_VAULT_ID = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/shop"
_GET = "Microsoft.KeyVault/vaults/secrets/getSecret/action"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (("", ""), None),
        (("shop", ""), RequestedResource(vault="shop", action=_GET, is_data=True)),
        (
            ("https://shop.vault.azure.net/", ""),
            RequestedResource(vault="shop", action=_GET, is_data=True),
        ),
        (("shop.vault.azure.net", ""), RequestedResource(vault="shop", action=_GET, is_data=True)),
        ((_VAULT_ID, ""), RequestedResource(resource_id=_VAULT_ID, action=_GET, is_data=True)),
        (
            ("", _VAULT_ID + "/"),
            RequestedResource(resource_id=_VAULT_ID, action=_GET, is_data=True),
        ),
        (("", "/subscriptions/s"), RequestedResource(resource_id="/subscriptions/s", is_data=True)),
        (
            ("", "/subscriptions/s", "x/read"),
            RequestedResource(resource_id="/subscriptions/s", action="x/read"),
        ),
    ],
)
def test_requested_resource_is_parsed_from_the_options(
    given: tuple[str, ...], wanted: RequestedResource | None
) -> None:
    assert parse_requested_resource(*given) == wanted


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("a", "/subscriptions/s"), "not both"),
        (("", "/subscriptions/s", "a", "b"), "not both"),
        (("", "", "a"), "needs a resource"),
        (("", "storage"), "not a resource id"),
        (("", "/subscriptions/s/../x"), "not a resource id"),
        (("a/b c", ""), "is not a vault"),
    ],
)
def test_invalid_resource_option_is_a_usage_error(given: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_requested_resource(*given)


def _script(answers: dict[str, Any]) -> Callable[[str, str], ScriptedResponse]:
    def answer(_: str, target: str) -> ScriptedResponse:
        for start, body in answers.items():
            if target.startswith(start):
                return ScriptedResponse(body=body)
        return ScriptedResponse(status=404, body={"error": {"code": "x"}})

    return answer


async def test_application_of_another_tenant_is_found_without_its_credentials(
    tmp_path: Path,
) -> None:
    principal = {"id": "p", "appId": CLIENT, "displayName": "shared"}
    answers = {
        "/v1.0/servicePrincipals": {
            "value": [{**principal, "appOwnerOrganizationId": OTHER_TENANT}]
        },
        "/v1.0/applications": {"value": []},
    }
    async with scripted_api(tmp_path, _script(answers)) as api:
        reader = CallerDirectory(api.client, api.client, "s")
        found = await reader.find_identity(CLIENT)
        assert isinstance(found, DirectoryIdentity)
        assert found.owner_tenant == OTHER_TENANT
        unread = await reader.list_credentials(found)
    assert isinstance(unread, Unread)
    assert OTHER_TENANT in unread.reason


async def test_system_assigned_identity_is_named(tmp_path: Path) -> None:
    machine = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm"
    principal = {
        "id": "p",
        "appId": CLIENT,
        "displayName": "vm",
        "servicePrincipalType": "ManagedIdentity",
        "alternativeNames": ["isExplicit=False", machine],
    }
    answers = {"/v1.0/servicePrincipals": {"value": [principal]}}
    async with scripted_api(tmp_path, _script(answers)) as api:
        reader = CallerDirectory(api.client, api.client, "s")
        identity = await reader.find_identity(CLIENT)
        assert isinstance(identity, DirectoryIdentity)
        credentials = await reader.list_credentials(identity)
    found = _examine(replace(CLOUD, identity=identity, credentials=credentials))
    assert _named(found) == ["identity-system-assigned"]


async def test_application_that_the_caller_cannot_read_is_not_reported_as_missing(
    tmp_path: Path,
) -> None:
    principal = {"value": [{"id": "p", "appId": CLIENT, "displayName": "web"}]}

    def answer(_: str, target: str) -> ScriptedResponse:
        if target.startswith("/v1.0/servicePrincipals"):
            return ScriptedResponse(body=principal)
        return ScriptedResponse(status=403, body={"error": {"code": "Denied"}})

    async with scripted_api(tmp_path, answer) as api:
        reader = CallerDirectory(api.client, api.client, "s")
        identity = await reader.find_identity(CLIENT)
        assert isinstance(identity, DirectoryIdentity)
        credentials = await reader.list_credentials(identity)
    found = _examine(replace(CLOUD, identity=identity, credentials=credentials))
    assert _named(found) == []
    assert "Denied" in _reason(found, "credential-missing")


async def test_graph_credential_has_its_expression(tmp_path: Path) -> None:
    flexible = {"id": "1", "name": "flexible", "issuer": ISSUER, "subject": None}
    expression = {"value": FLEXIBLE.expression, "languageVersion": 1}
    shown = {**flexible, "audiences": [AUDIENCE], "claimsMatchingExpression": expression}
    answers = {
        "/v1.0/servicePrincipals": {"value": [{"id": "p", "appId": CLIENT}]},
        "/beta/applications/a/federated": {"value": [shown]},
        "/v1.0/applications": {"value": [{"id": "a", "appId": CLIENT}]},
    }
    async with scripted_api(tmp_path, _script(answers)) as api:
        reader = CallerDirectory(api.client, api.client, "s")
        identity = await reader.find_identity(CLIENT)
        assert isinstance(identity, DirectoryIdentity)
        credentials = await reader.list_credentials(identity)
    found = _examine(replace(CLOUD, identity=identity, credentials=credentials, exchange=REFUSED))
    assert _named(found) == ["credential-flexible"]
    assert not isinstance(credentials, Unread)
    assert [each.expression for each in credentials] == [FLEXIBLE.expression]


@pytest.mark.parametrize(
    "host",
    [
        "https://attacker.example/",
        "https://login.microsoftonline.us/",
        "http://login.microsoftonline.com/",
        "https://login.microsoftonline.com@attacker.example/",
        "https://login.microsoftonline.com:8443/",
        "https://[/",
    ],
)
async def test_authority_that_only_the_pod_names_gets_no_request_and_no_token(
    tmp_path: Path, host: str
) -> None:
    async with (
        scripted_api(tmp_path, _script({})) as api,
        # Every name is connected to the scripted server, whose certificate is that of another name.
        connect_proxy(int(api.origin.rpartition(":")[2])) as proxy,
    ):
        connection = replace(api.connection, https_proxy=proxy)
        endpoints = find_endpoints("AzurePublicCloud")
        account = AzureAccount(
            endpoints=replace(endpoints, graph=api.origin, manager=api.origin),
            subscription_id="s",
            tenant_id=TENANT,
            tokens=api.tokens,
            connection=api.connection,
        )
        reader = CloudReader(endpoints, connection, account)
        cluster = replace(_cluster(AZURE_AUTHORITY_HOST=host), discovery=_UNREAD)
        found = await reader.read(cluster)
    assert isinstance(found.authority, Unread)
    assert found.authority.reason.startswith("the authority of the workload is not")
    assert all("oauth2" not in target for target in api.targets)


async def test_hostile_role_definition_id_sends_no_request_to_another_host(tmp_path: Path) -> None:
    role = {"roleDefinitionId": "@attacker.example/role", "scope": "/"}
    answers = {"/subscriptions/s/providers": {"value": [{"id": "/a", "properties": role}]}}
    async with (
        scripted_api(tmp_path, _script(answers)) as api,
        connect_proxy(int(api.origin.rpartition(":")[2])) as proxy,
    ):
        api.connection.https_proxy = proxy
        api.connection.limits = RequestLimits(attempts=1, seconds=20.0)
        reader = CallerDirectory(api.client, api.client, "s")
        found = await reader.read_resource(RequestedResource(resource_id="/subscriptions/s"), "p")
    assert isinstance(found, ResourceFacts)
    assert found.roles == ()
    assert len(api.targets) == 1


@pytest.mark.parametrize(
    ("value", "vault"),
    [
        ("https://shop.vault.azure.net/", "shop"),
        ("https://shop.vault.azure.net", "shop"),
        ("https://shop.vault.azure.cn/", ""),
        ("https://shop.vault.azure.net.attacker.example/", ""),
        ("shop", ""),
    ],
)
def test_vault_is_found_only_in_a_vault_url_of_the_pods_variables(value: str, vault: str) -> None:
    assert find_vault(find_manifest(_cluster(VAULT_URL=value)), "vault.azure.net") == vault


def test_fix_has_the_ids_of_the_directory_and_not_those_that_a_pod_has_logged() -> None:
    """Else a pod could choose which identity an operator gives a role at which vault."""
    scope = "/subscriptions/s/resourcegroups/g/providers/microsoft.keyvault/vaults/payroll"
    logged = f"ForbiddenByRbac Caller: appid=a;oid={CLIENT} Resource: '{scope}/secrets/a'"
    status = build_status("app", STOPPED["ended"], restarts=0)
    cluster = replace(_cluster(), pod={"status": status}, log=recognize(logged))
    found = examine(Facts(cluster=cluster, cloud=CLOUD)).findings[-1]
    assert found.check == "container-error"
    assert f"--assignee-object-id {APPLICATION.principal_id} " in found.fix
    assert found.fix.endswith("--scope VAULT_ID")


def test_error_of_the_exchange_is_explained_once() -> None:
    """The log of the pod has the same error as the exchange of doctor."""
    status = build_status("app", STOPPED["ended"], restarts=0)
    message = "AADSTS53003: Access has been blocked by Conditional Access policies."
    cluster = replace(_cluster(), pod={"status": status}, log=recognize(message))
    exchange = ExchangeFacts(token=TOKEN, status=401, number=53003, message=message)
    found = examine(Facts(cluster=cluster, cloud=replace(CLOUD, exchange=exchange))).findings
    assert found[-1].check == "exchange-refused"
    assert sum("Conditional Access policies" in each.message for each in found) == 1
    other = replace(exchange, number=50034, message="AADSTS50034: another error")
    found = examine(Facts(cluster=cluster, cloud=replace(CLOUD, exchange=other))).findings
    assert found[-1].check == "container-error"
