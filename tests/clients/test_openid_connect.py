"""A released OpenID Connect client (Authlib) reads the claims of a user at the userinfo endpoint."""

import os
import subprocess
import sys

import pytest

from tests.clients.installation import PROGRAMS, install_python
from tests.clients.program_output import parse_output
from tests.journey.instance import AZURE_CLI, Instance

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]


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
    done = subprocess.run(
        command,
        env={**os.environ, "PODPASS_DATA_DIR": str(instance.data_dir)},
        input=admin["password"],
        capture_output=True,
        text=True,
        check=False,
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
