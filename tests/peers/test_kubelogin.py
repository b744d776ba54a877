"""kubelogin signs a user in with a device code: with azidentity, and with ADAL in its legacy mode."""

import json
from pathlib import Path

import pytest

from bench.peers.build import CannotBuild, build_program
from podpass.crypto import jose
from podpass.directory.resources import MANAGER_APP_ID
from tests.journey.instance import Instance
from tests.peers.device_sign_in import sign_in

# A first build takes minutes.
pytestmark = [pytest.mark.peers, pytest.mark.timeout(1800)]
# The Azure CLI's client id: a public client of every tenant.
_CLIENT = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"


@pytest.mark.parametrize("mode", [(), ("--legacy",)], ids=["azidentity", "adal"])
def test_kubelogin_signs_a_user_in_with_a_device_code(
    instance: Instance, tmp_path: Path, mode: tuple[str, ...]
) -> None:
    try:
        program = build_program("kubelogin")
    except CannotBuild as exc:
        pytest.skip(f"kubelogin: {exc}")
    client = ("--client-id", _CLIENT, "--tenant-id", instance.status["tenant_id"])
    server = ("--server-id", MANAGER_APP_ID, "--cache-dir", str(tmp_path))
    command = [str(program), "get-token", "--login", "devicecode", *client, *server, *mode]
    credential = json.loads(sign_in(instance, command))
    claims = jose.parse(credential["status"]["token"]).claims
    assert claims["upn"] == instance.status["admin"]["username"]
