"""The console of an authority: behind the sign-in of its administrators, with all workers' exchanges."""

import asyncio
import http.client
from collections.abc import Iterator, Mapping
from pathlib import Path
from signal import SIGKILL
from urllib.parse import urlencode

import pytest

from tests.servers.authority.running import (
    CLIENT,
    DOMAIN,
    NAMED,
    SECRET,
    TENANT,
    Authority,
    add_users,
    closing_connection,
)

pytestmark = pytest.mark.processes

ORIGIN = "https://admin.example:9443"
HOST = "admin.example:9443"


@pytest.fixture(scope="module")
def admin(shared: Authority) -> Authority:
    asyncio.run(add_users(shared.database))
    shared.start(
        workers=2,
        admin_listen="127.0.0.1:0",
        admin_origin=ORIGIN,
        tenant_id=TENANT,
        administrator=NAMED,
    )
    return shared


@pytest.fixture
def connection(admin: Authority) -> Iterator[http.client.HTTPConnection]:
    with closing_connection(admin.connect("admin")) as connection:
        yield connection


def call(
    connection: http.client.HTTPConnection,
    path: str,
    form: Mapping[str, str] | None = None,
    **headers: str,
) -> tuple[int, str, http.client.HTTPMessage]:
    """Read a page, or send a form, as a browser does."""
    head = {"Host": HOST, **headers}
    if form is None:
        connection.request("GET", path, headers=head)
    else:
        head = {"Origin": ORIGIN, "Content-Type": "application/x-www-form-urlencoded", **head}
        connection.request("POST", path, urlencode(form), head)
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), answer.headers


def sign_in(connection: http.client.HTTPConnection, name: str, password: str) -> str:
    """Sign in; return the cookie, or an empty text after a refusal."""
    form = {"username": f"{name}@{DOMAIN}", "password": password}
    status, page, headers = call(connection, "/console/sign-in", form)
    cookie = (headers["set-cookie"] or "").partition(";")[0]
    assert (status, headers["location"]) == (303, "/console/") if cookie else status == 403, page
    return cookie


def test_pages_need_a_session(connection: http.client.HTTPConnection) -> None:
    for view in ("", "identities", "audit", "events", "static/console.js"):
        status, page, headers = call(connection, f"/console/{view}")
        assert (status, headers["set-cookie"]) == (401, None)
        assert 'name="password"' in page
        assert CLIENT not in page


def test_only_an_administrator_with_the_password_signs_in(
    connection: http.client.HTTPConnection,
) -> None:
    assert sign_in(connection, "anna", SECRET) == ""
    assert sign_in(connection, "named", "wrong") == ""
    assert sign_in(connection, "nobody", SECRET) == ""
    assert sign_in(connection, "named", SECRET).startswith("__Host-podpass-console=")


def test_sign_in_of_another_origin_or_host_is_refused(
    connection: http.client.HTTPConnection,
) -> None:
    form = {"username": f"named@{DOMAIN}", "password": SECRET}
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}):
        assert call(connection, "/console/sign-in", form, **headers)[0] == 403
    assert call(connection, "/console/sign-in", form, Host="evil.example")[0] == 421


def test_session_cookie_has_all_security_attributes(connection: http.client.HTTPConnection) -> None:
    form = {"username": f"named@{DOMAIN}", "password": SECRET}
    _, _, headers = call(connection, "/console/sign-in", form)
    attributes = {each.strip() for each in headers["set-cookie"].split(";")[1:]}
    assert {"Secure", "HttpOnly", "SameSite=Strict", "Path=/"} <= attributes


def test_administrator_sees_directory_and_exchanges_of_all_workers(
    admin: Authority, connection: http.client.HTTPConnection
) -> None:
    cookie = sign_in(connection, "named", SECRET)
    for view in ("identities", "audit", "graph"):
        status, page, _ = call(connection, f"/console/{view}", Cookie=cookie)
        assert status == 200, view
        assert "<h1>" in page
    page = call(connection, "/console/identities", Cookie=cookie)[1]
    assert CLIENT in page
    assert "Reload the page to sign in again" in page
    assert "podpass console for a new link" not in page
    for _ in range(10):
        assert admin.request_token().status == 200
    assert admin.request_token(client_secret="wrong").status == 401

    def counts_all() -> bool:
        text = call(connection, "/console/", Cookie=cookie)[1]
        return "AADSTS7000215" in text

    admin.until(counts_all)
    status, page, _ = call(connection, "/console/exchanges", Cookie=cookie)
    assert page.count('class="row"') >= 11
    assert "/console/pods" not in page


def test_session_ends_with_the_sign_out(connection: http.client.HTTPConnection) -> None:
    cookie = sign_in(connection, "named", SECRET)
    assert call(connection, "/console/audit", Cookie=cookie)[0] == 200
    assert call(connection, "/console/sign-out", {}, Cookie=cookie)[0] == 200
    assert call(connection, "/console/audit", Cookie=cookie)[0] == 401


@pytest.fixture
def replica(admin: Authority, tmp_path: Path) -> Iterator[http.client.HTTPConnection]:
    """Start another authority with the same database; connect to its console."""
    other = Authority(folder=tmp_path, ca=admin.ca)
    other.write_certificate()
    try:
        other.start(
            workers=1,
            admin_listen="127.0.0.1:0",
            admin_origin=ORIGIN,
            tenant_id=TENANT,
            administrator=NAMED,
            database=admin.database,
            sealing_key_file=admin.folder / "seal.key",
        )
        with closing_connection(other.connect("admin")) as connection:
            yield connection
    finally:
        other.stop(SIGKILL)


def test_session_of_one_replica_is_valid_at_another(
    admin: Authority, connection: http.client.HTTPConnection, replica: http.client.HTTPConnection
) -> None:
    cookie = sign_in(connection, "named", SECRET)
    assert call(replica, "/console/audit", Cookie=cookie)[0] == 200
    assert call(replica, "/console/sign-out", {}, Cookie=cookie)[0] == 200
    admin.until(lambda: call(connection, "/console/audit", Cookie=cookie)[0] == 401)


def test_changed_password_ends_the_session(
    admin: Authority, connection: http.client.HTTPConnection
) -> None:
    cookie = sign_in(connection, "named", SECRET)
    assert call(connection, "/console/audit", Cookie=cookie)[0] == 200
    asyncio.run(add_users(admin.database, "another-password"))
    try:
        admin.until(lambda: call(connection, "/console/audit", Cookie=cookie)[0] == 401)
    finally:
        asyncio.run(add_users(admin.database))


def test_session_opens_no_admin_api(connection: http.client.HTTPConnection) -> None:
    cookie = sign_in(connection, "named", SECRET)
    status, _, _ = call(connection, "/v1.0/applications", Cookie=cookie)
    assert status == 401


def test_passwords_and_sessions_are_not_logged(
    admin: Authority, connection: http.client.HTTPConnection
) -> None:
    cookie = sign_in(connection, "named", SECRET)
    sign_in(connection, "named", "wrong-password-of-the-test")
    admin.until(lambda: bool(admin.events("console_sign_in_refused")))
    assert SECRET not in admin.log
    assert "wrong-password-of-the-test" not in admin.log
    assert cookie.partition("=")[2] not in admin.log


def test_console_is_not_served_if_no_origin_is_configured(authority: Authority) -> None:
    authority.start(workers=1, admin_listen="127.0.0.1:0", tenant_id=TENANT)
    with closing_connection(authority.connect("admin")) as connection:
        status, page, _ = call(connection, "/console/")
    assert status == 401
    assert "password" not in page
