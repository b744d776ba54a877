"""Users sign in with a device code through MSAL for Go, Java and Node, and with OpenID Connect (Authlib)."""

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.clients import toolchains
from tests.clients.catalogue import GRAPH
from tests.clients.installation import PROGRAMS, install_python
from tests.clients.program_output import parse_output
from tests.clients.toolchains import NEWEST, OLDEST
from tests.journey.instance import AZURE_CLI, Instance
from tests.peers.device_sign_in import confirm
from tests.run_program import run_text

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

# The Azure CLI's client id: a public client of every tenant.
_CLIENT = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
_PROGRAMS: dict[str, Callable[[str], list[str]]] = {
    "go": lambda age: [*toolchains.go("client", age), "device"],
    "java": lambda age: toolchains.java("Device", age),
    "node": lambda age: toolchains.node("device", age),
}


@pytest.mark.parametrize("age", [OLDEST, NEWEST])
@pytest.mark.parametrize("language", sorted(_PROGRAMS))
def test_msal_signs_a_user_in_with_a_device_code(
    instance: Instance, language: str, age: str
) -> None:
    command = [*_PROGRAMS[language](age), _CLIENT, f"{GRAPH}/.default"]
    environ = {
        **os.environ,
        "PODPASS_DATA_DIR": str(instance.data_dir),
        "AZURE_AUTHORITY_HOST": "https://login.microsoftonline.com/",
        "AZURE_TENANT_ID": instance.status["tenant_id"],
    }
    run = [sys.executable, "-m", "podpass.cli", "run", "--", *command]
    with subprocess.Popen(run, env=environ, stdout=-1, stderr=-1, stdin=-3, text=True) as program:
        try:
            assert program.stdout is not None
            # Libraries write log lines before it.
            line = next((one for one in program.stdout if one.startswith("{")), "{}")
            shown = json.loads(line)
            if shown:
                confirm(instance, shown["page"], shown["code"])
            printed, talk = program.communicate(timeout=60)
        finally:
            program.kill()
    assert program.returncode == 0, talk
    said = parse_output(printed)
    assert said["user"] == instance.status["admin"]["username"]
    assert said["audience"] == GRAPH


@pytest.mark.parametrize("mode", ["gateway", "direct"])
def test_authlib_reads_the_claims_of_the_signed_in_user(instance: Instance, mode: str) -> None:
    status = instance.status
    admin = status["admin"]
    is_direct = mode == "direct"
    authority = status["authority"] if is_direct else "https://login.microsoftonline.com"
    graph = status["graph"] if is_direct else "https://graph.microsoft.com"
    command = [
        *(sys.executable, "-m", "podpass.cli", "run", "--"),
        *install_python("authlib", "httpx", "itsdangerous", "starlette"),
        str(PROGRAMS / "python" / "openid_connect.py"),
        *(authority, status["tenant_id"], AZURE_CLI, admin["username"]),
    ]
    done = run_text(
        command,
        env={**os.environ, "PODPASS_DATA_DIR": str(instance.data_dir)},
        input=admin["password"],
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    said = parse_output(done.stdout)
    assert said["endpoint"] == f"{graph}/oidc/userinfo"
    identity, read = said["identity"], said["read"]
    # OpenID Connect Core, section 5.3.2: a client must compare them.
    assert read["sub"] == identity["sub"]
    assert read["email"] == identity["email"] == admin["username"]
    assert read["name"] == identity["name"]
    assert read["picture"] == "https://graph.microsoft.com/v1.0/me/photo/$value"
