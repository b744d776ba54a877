"""The reference's sidecar v1.6.0 and `podpass proxy` get the same requests and give the same answers.

Requests for other paths are in `test_sidecar_forward.py`: both forward them to the metadata service.
"""

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from podpass.crypto import jose
from tests.journey.instance import CLIENT, SECOND_CLIENT, Instance
from tests.ports import free_port
from tests.programs import built

# A first build takes minutes.
pytestmark = [pytest.mark.peers, pytest.mark.timeout(1800)]

PATH = "/metadata/identity/oauth2/token"
VAULT = "resource=https%3A%2F%2Fvault.azure.net"
SAME = [
    f"GET {PATH}?api-version=2018-02-01&{VAULT}&client_id={CLIENT}",
    f"GET {PATH}/?{VAULT}&client_id={CLIENT.upper()}",
    f"GET {PATH}foo?{VAULT}",
    f"GET /METADATA/identity/oauth2/token?{VAULT}",
    f"GET /%6Detadata/identity%2Foauth2/token?{VAULT}",
    f"POST {PATH}?{VAULT}",
    f"OPTIONS {PATH}?{VAULT}",
    f"HEAD {PATH}?{VAULT}",
    f"GET {PATH}?{VAULT}%2F",
    f"GET {PATH}?{VAULT}%2F.default",
    f"GET {PATH}?{VAULT}&client_id=",
    f"GET {PATH}",
    f"GET {PATH}?client_id={CLIENT}",
    "GET ///metadata/identity/oauth2/token?a=b",
    "GET /metadata//identity/oauth2/token?a=b%20c",
    "GET /metadata/../readyz",
    "GET /metadata/%2e%2e/readyz",
    "POST /a%20b//c/",
    "GET /readyz",
    "POST /readyz/",
    "HEAD /readyzfoo",
]
# The reference answers these with a token, of the pod's own identity or of the first one; ours refuses them.
STRICTER = [
    f"GET {PATH}?{VAULT}&resource=https://x&client_id=",
    f"GET {PATH}?{VAULT}&client_id={CLIENT}&msi_res_id=x",
    f"GET {PATH}?{VAULT}&client_id=%zz",
    f"GET {PATH}?{VAULT}&client_id={CLIENT};x",
    f"GET {PATH}?{VAULT}&client_id=&client_id={CLIENT}",
    f"GET {PATH}?{VAULT}&clientid=web",
]
# Both refuse these, with texts of their own.
REFUSED = [
    f"GET {PATH}?resource=https://nothing.example",
    f"GET {PATH}?{VAULT}&client_id=22222222-aaaa-4bbb-8ccc-000000000099",
]


@pytest.fixture(scope="module")
def environ(instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    instance.account("web")
    token_file = tmp_path_factory.mktemp("sidecar") / "token"
    token_file.write_text(instance.token("web"))
    lines = instance.podpass("run", "--", "env").stdout.splitlines()
    return {
        **dict(line.split("=", 1) for line in lines if "=" in line),
        "AZURE_TENANT_ID": instance.status["tenant_id"],
        "AZURE_FEDERATED_TOKEN_FILE": str(token_file),
        "AZURE_AUTHORITY_HOST": "https://login.microsoftonline.com/",
        "AZURE_CLIENT_ID": CLIENT,
    }


@pytest.fixture(scope="module")
def ports(environ: dict[str, str]) -> Iterator[list[int]]:
    """Run both sidecars; return the ports of the reference and of ours."""
    reference = built("azwi-proxy")
    ours = [sys.executable, "-m", "podpass.cli", "proxy"]
    with running([str(reference)], environ) as first, running(ours, environ) as second:
        yield [first, second]


@contextmanager
def running(command: list[str], environ: dict[str, str]) -> Iterator[int]:
    port = free_port()
    child = subprocess.Popen([*command, f"--proxy-port={port}"], env=environ, cwd=Path.cwd())
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                _ask(port, "GET /readyz")
                break
            except ConnectionRefusedError:
                assert time.monotonic() < deadline, command
                time.sleep(0.05)
        yield port
    finally:
        child.kill()
        child.wait()


def _ask(port: int, request: str) -> tuple[int, dict[str, str], bytes]:
    method, _, target = request.partition(" ")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.putrequest(method, target, skip_accept_encoding=True)
    connection.endheaders()
    response = connection.getresponse()
    body = response.read()
    connection.close()
    headers = {name.lower(): value for name, value in response.getheaders()}
    # The values differ: the time, and the name and version of the program.
    headers.pop("date", None)
    if "server" in headers:
        headers["server"] = headers["server"].partition("/proxy/")[0]
    return response.status, headers, body


def _comparable(body: bytes) -> Any:
    """Return a body without what differs between two tokens."""
    if b"access_token" not in body:
        return body
    values = json.loads(body)
    claims = jose.parse(values["access_token"]).claims
    # Both programs add `expires_in` to the time at which the response arrives.
    assert abs(int(values["expires_on"]) - claims["exp"]) < 60
    assert isinstance(values["expires_in"], int)
    names = list(values)
    for name in ("access_token", "expires_on", "expires_in"):
        del values[name]
    return names, values, claims["aud"], claims["appid"], body[-2:]


@pytest.mark.parametrize("request_line", SAME)
def test_sidecar_response_equals_that_of_the_reference(ports: list[int], request_line: str) -> None:
    (status, headers, body), ours = (_ask(port, request_line) for port in ports)
    assert (ours[0], ours[1], _comparable(ours[2])) == (status, headers, _comparable(body))


@pytest.mark.parametrize("request_line", REFUSED)
def test_refusal_of_the_authority_has_the_status_of_the_reference(
    ports: list[int], request_line: str
) -> None:
    (status, headers, body), ours = (_ask(port, request_line) for port in ports)
    for each in (headers, ours[1]):
        del each["content-length"]
    assert (ours[0], ours[1]) == (status, headers)
    code = ours[2].partition(b":")[0]
    assert code.startswith(b"AADSTS")
    assert code in body


@pytest.mark.parametrize("request_line", STRICTER)
def test_ambiguous_identity_is_refused(ports: list[int], request_line: str) -> None:
    reference, ours = (_ask(port, request_line) for port in ports)
    assert reference[0] == 200
    assert ours[0] == 400
    assert b"access_token" not in ours[2]


@pytest.mark.parametrize("query", [f"{VAULT};client_id={CLIENT}", "resource=%zz"])
def test_query_is_refused_by_both_programs(ports: list[int], query: str) -> None:
    reference, ours = (_ask(port, f"GET {PATH}?{query}") for port in ports)
    assert (reference[0], reference[2]) == (400, b"The resource parameter is required.\n")
    assert ours[0] == 400
    assert b"malformed parameter" in ours[2]


def test_name_of_a_parameter_may_have_any_case(ports: list[int]) -> None:
    """The reference returns a token of the pod's own identity for one that it does not know by this name."""
    found = [_ask(port, f"GET {PATH}?{VAULT}&Client_ID={SECOND_CLIENT}") for port in ports]
    assert [status for status, _, _ in found] == [200, 200]
    tokens = [jose.parse(json.loads(body)["access_token"]).claims for _, _, body in found]
    assert [claims["appid"] for claims in tokens] == [CLIENT, SECOND_CLIENT]


def test_client_id_that_is_not_a_guid_is_a_bad_request(ports: list[int]) -> None:
    """The reference asks the authority; clients repeat a request with its status."""
    reference, ours = (_ask(port, f"GET {PATH}?{VAULT}&client_id=web") for port in ports)
    assert (reference[0], ours[0]) == (500, 400)
    assert b"is not a GUID" in ours[2]
