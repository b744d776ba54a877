"""The admin APIs: disabled by default, on their own address, only with a valid token."""

import asyncio
import http.client
import re
from collections.abc import Iterator

import pytest

from podpass.crypto import jose
from podpass.directory.graph import routes as graph_routes
from podpass.directory.resource_manager import app as manager_routes
from podpass.settings.authority_process import default_subscription_id
from tests.ports import free_port
from tests.servers.authority.running import (
    AZ,
    DOMAIN,
    NAMED,
    PLAIN,
    SECRET,
    SEED,
    TENANT,
    Answer,
    Authority,
    add_users,
    closing_connection,
    send,
)

pytestmark = pytest.mark.processes

GRAPH = "https://graph.microsoft.com/.default"
MANAGER = "https://management.azure.com/.default"
VAULT = "https://vault.azure.net/.default"
SUBSCRIPTION = default_subscription_id(TENANT)
GUID = "99999999-9999-4999-8999-999999999999"
FORGED = ("another resource", "another key", "no signature", "no algorithm", "changed", "garbage")
NO_ALGORITHM = b'{"alg":"none","typ":"JWT"}'
BASIC = "Basic dXNlcjpwYXNz"


@pytest.fixture(scope="module")
def admin(shared: Authority) -> Authority:
    seed = shared.folder / "seed.yaml"
    seed.write_text(SEED)
    done = shared.command("seed", "-f", str(seed), "--database", shared.database)
    assert done.returncode == 0, done.stderr
    asyncio.run(add_users(shared.database))
    shared.start(workers=1, admin_listen="127.0.0.1:0", tenant_id=TENANT, administrator=NAMED)
    return shared


@pytest.fixture
def connection(admin: Authority) -> Iterator[http.client.HTTPConnection]:
    with closing_connection(admin.connect("admin")) as connection:
        yield connection


def _call(
    line: http.client.HTTPConnection, path: str, authorization: str | None, method: str = "GET"
) -> Answer:
    head = {} if authorization is None else {"Authorization": authorization}
    return send(line, method, path, None, head)


def _token(authority: Authority, scope: str, **form: str) -> str:
    answer = authority.request_token(scope=scope, **form)
    assert answer.status == 200, answer.body
    return str(answer.body["access_token"])


def _forge_token(authority: Authority, how: str) -> str:
    """Return an invalid variant of a valid token."""
    good = _token(authority, MANAGER)
    head, claims, signature = good.split(".")
    match how:
        case "another resource":
            return _token(authority, VAULT)
        case "another key":
            key = jose.SigningKey(kid=str(jose.parse(good).kid), key=jose.generate_rsa())
            return key.sign(dict(jose.parse(good).claims), {"typ": "JWT"})
        case "no signature":
            return f"{head}.{claims}."
        case "no algorithm":
            return ".".join((jose.b64encode(NO_ALGORITHM), claims, ""))
        case "changed":
            return f"{head}.{jose.b64encode(b'{}')}.{signature}"
    return "garbage"


def _list_operations() -> list[tuple[str, str]]:
    """Return method and path of each operation of both APIs, also of those that are public in Azure."""
    open_in_azure = ("/metadata/endpoints?api-version=2020-06-01", "/v1.0/$metadata", "/", "/x")
    found = {("GET", path) for path in open_in_azure}
    for route in manager_routes.list_routes(()):
        path = route.path.replace("{subscription}", SUBSCRIPTION).replace("{scope}", "")
        found.add((route.method, re.sub(r"\{\w+\}", "one", path) + "?api-version=2023-01-31"))
    for steps, methods in graph_routes.TABLE.items():
        path = "/".join(GUID if step == "*" else step for step in steps)
        found |= {(method, f"/v1.0/{path}") for method in methods}
    found.add(("POST", "/v1.0/$batch"))
    return sorted(found)


def test_operations_of_both_apis_are_listed() -> None:
    paths = [path for _, path in _list_operations()]
    assert len([path for path in paths if path.startswith("/v1.0/")]) > 40
    assert len([path for path in paths if path.startswith("/subscriptions")]) > 40


@pytest.mark.parametrize("authorization", [None, "", BASIC, "Bearer", "Bearer  ", "Bearer x y"])
def test_request_without_token_is_refused(
    connection: http.client.HTTPConnection, authorization: str | None
) -> None:
    for method, path in _list_operations():
        answer = _call(connection, path, authorization, method)
        assert answer.status == 401, (method, path)
        assert answer.headers["www-authenticate"].startswith("Bearer ")


@pytest.mark.parametrize("how", FORGED)
def test_request_with_invalid_token_is_refused(
    admin: Authority, connection: http.client.HTTPConnection, how: str
) -> None:
    token = f"Bearer {_forge_token(admin, how)}"
    for method, path in _list_operations():
        assert _call(connection, path, token, method).status == 401, (method, path)


def test_token_without_permissions_is_refused_by_both_apis(
    admin: Authority, connection: http.client.HTTPConnection
) -> None:
    graph = f"Bearer {_token(admin, GRAPH, client_id=PLAIN)}"
    manager = f"Bearer {_token(admin, MANAGER, client_id=PLAIN)}"
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/podpass?api-version=2021-04-01"
    assert _call(connection, "/v1.0/applications", graph).status == 403
    assert _call(connection, "/v1.0/users", graph).status == 403
    assert _call(connection, group, manager).status == 403
    assert _call(connection, group, manager, "PUT").status == 403


def test_token_for_one_api_is_refused_by_the_other(
    admin: Authority, connection: http.client.HTTPConnection
) -> None:
    graph, manager = (f"Bearer {_token(admin, scope)}" for scope in (GRAPH, MANAGER))
    assert _call(connection, "/v1.0/applications", manager).status == 401
    assert _call(connection, "/tenants?api-version=2020-01-01", graph).status == 401


def test_seeded_administrator_manages_both_apis(
    admin: Authority, connection: http.client.HTTPConnection
) -> None:
    graph, manager = (f"Bearer {_token(admin, scope)}" for scope in (GRAPH, MANAGER))
    names = {
        one["displayName"] for one in _call(connection, "/v1.0/applications", graph).body["value"]
    }
    assert {"ops", "app", "plain"} <= names
    groups = f"/subscriptions/{SUBSCRIPTION}/resourceGroups?api-version=2021-04-01"
    assert [one["name"] for one in _call(connection, groups, manager).body["value"]] == ["podpass"]


def _by_password(admin: Authority, name: str, scope: str = GRAPH) -> dict[str, str]:
    form = {"username": f"{name}@{DOMAIN}", "password": SECRET, "client_secret": None}
    answer = admin.request_token(grant_type="password", client_id=AZ, scope=scope, **form)
    assert answer.status == 200, answer.body
    token = answer.body["access_token"]
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}


def test_user_has_no_permission_until_configured_as_administrator(
    admin: Authority, connection: http.client.HTTPConnection
) -> None:
    wanted = '{"displayName": "mine"}'
    # Both users signed in with the scopes of az.
    anna, named = (_by_password(admin, name) for name in ("anna", "named"))
    refused = send(connection, "POST", "/v1.0/applications", wanted, anna)
    assert refused.status == 403
    assert refused.body["error"]["code"] == "Authorization_RequestDenied"
    assert send(connection, "POST", "/v1.0/applications", wanted, named).status == 201
    # The seed's administrator is an application that may write users, but not this one.
    head = {"Authorization": f"Bearer {_token(admin, GRAPH)}"}
    kept = send(connection, "DELETE", f"/v1.0/users/{NAMED}", None, head)
    assert kept.status == 403
    assert "is an administrator" in kept.body["error"]["message"]


def test_credential_created_by_admin_api_is_trusted_by_workers(
    admin: Authority, connection: http.client.HTTPConnection
) -> None:
    graph = {"Authorization": f"Bearer {_token(admin, GRAPH)}", "Content-Type": "application/json"}
    made = send(connection, "POST", "/v1.0/applications", '{"displayName": "late"}', graph).body
    send(connection, "POST", "/v1.0/servicePrincipals", f'{{"appId": "{made["appId"]}"}}', graph)
    where = f"/v1.0/applications/{made['id']}/addPassword"
    added = send(connection, "POST", where, '{"passwordCredential": {"displayName": "p"}}', graph)
    form = {"client_id": made["appId"], "client_secret": added.body["secretText"]}
    # Another process wrote it; the workers are notified within a second.
    admin.until(lambda: admin.request_token(**form).status == 200, seconds=2)


def test_userinfo_is_named_at_the_admin_origin_and_served_there(authority: Authority) -> None:
    asyncio.run(add_users(authority.database))
    origin = f"https://localhost:{free_port()}"
    listen = origin.removeprefix("https://")
    authority.start(workers=1, admin_listen=listen, admin_origin=origin, tenant_id=TENANT)
    document = authority.get(f"/{TENANT}/v2.0/.well-known/openid-configuration", "service").body
    assert document["userinfo_endpoint"] == f"{origin}/oidc/userinfo"
    head = _by_password(authority, "anna", "openid email")
    with closing_connection(authority.connect("admin")) as line:
        answer = send(line, "POST", "/oidc/userinfo", None, head)
    assert (answer.status, answer.body["email"]) == (200, f"anna@{DOMAIN}")


@pytest.mark.parametrize(
    "kind",
    [
        "Microsoft.ContainerService/managedClusters",
        "Microsoft.KeyVault/vaults",
        "Microsoft.Network/dnsZones",
        "Microsoft.Storage/storageAccounts",
        "Microsoft.Cache/redis",
    ],
)
def test_paths_of_the_services_of_an_instance_are_not_found(
    admin: Authority, connection: http.client.HTTPConnection, kind: str
) -> None:
    token = f"Bearer {_token(admin, MANAGER)}"
    place = f"/subscriptions/{SUBSCRIPTION}/providers/{kind}"
    for path in (place, place.upper(), place.replace(kind, kind.replace("/", "%2F"))):
        assert _call(connection, f"{path}?api-version=2024-05-01", token).status in (400, 404)


def test_admin_apis_are_not_on_service_address(admin: Authority) -> None:
    token = f"Bearer {_token(admin, GRAPH)}"
    with closing_connection(admin.connect("service")) as public:
        for path in (
            "/v1.0/applications",
            "/tenants?api-version=2020-01-01",
            "/metadata/endpoints",
        ):
            assert _call(public, path, token).status == 404


def test_admin_apis_are_disabled_by_default(authority: Authority) -> None:
    facts = authority.start(workers=1)
    assert "admin" not in facts
    assert set(facts["others"]) == {"health"}


def test_admin_address_requires_tenant(authority: Authority) -> None:
    process = authority.launch(admin_listen="127.0.0.1:0")
    assert process.wait(30) == 2
    assert "--admin-listen needs --tenant-id" in authority.log
