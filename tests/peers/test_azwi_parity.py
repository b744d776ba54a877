"""`podpass azwi` next to the reference's `azwi`: equal objects after every phase, equal JWKS."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from kubernetes import client

from tests.journey.instance import Instance
from tests.peers.azwi_cli import Azwi, SignIns
from tests.peers.rest import RestClient
from tests.programs import built

# A first build takes minutes.
pytestmark = [pytest.mark.peers, pytest.mark.timeout(3600)]
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_VERSION = re.compile(r"azwi version: [^,]*, commit: .*")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[^\"]*")


@pytest.fixture(scope="module")
def programs(
    instance: Instance, rest: RestClient, tmp_path_factory: pytest.TempPathFactory
) -> list[Azwi]:
    """Return the reference's program and a link to podpass, signed in as one application."""
    folder = tmp_path_factory.mktemp("parity")
    link = folder / "azwi"
    link.symlink_to(Path(sys.executable).with_name("podpass"))
    sign_ins = SignIns(program=built("azwi"), instance=instance, rest=rest, folder=folder)
    theirs = sign_ins.sign_in("client_secret")
    return [theirs, dataclasses.replace(theirs, program=link)]


class _State:
    """The objects of one workload identity, without what differs from run to run."""

    def __init__(self, instance: Instance, rest: RestClient, account: str) -> None:
        self._instance, self._rest, self._account = instance, rest, account
        self._seen: dict[str, str] = {}

    def read(self) -> list[Any]:
        name = f"application-{self._account}"
        applications = self._list(f"/v1.0/applications?$filter=displayName%20eq%20'{name}'")
        principals = self._list(f"/v1.0/servicePrincipals?$filter=displayName%20eq%20'{name}'")
        trusts = [
            self._list(f"/v1.0/applications/{each['id']}/federatedIdentityCredentials")
            for each in applications
        ]
        roles = [self._assignments(each["id"]) for each in principals]
        account = self._service_account()
        plain = self._plain([applications, principals, trusts, roles, account])
        assert isinstance(plain, list)
        return plain

    def _list(self, path: str) -> list[dict[str, Any]]:
        status, found = self._rest("GET", path)
        assert status == 200, found
        return list(found["value"])

    def _assignments(self, principal: str) -> list[dict[str, Any]]:
        scope = f"/subscriptions/{self._instance.status['subscription_id']}"
        path = f"{scope}/providers/Microsoft.Authorization/roleAssignments"
        query = f"api-version=2022-04-01&$filter=principalId%20eq%20'{principal}'"
        return self._list(f"{path}?{query}")

    def _service_account(self) -> dict[str, Any] | None:
        try:
            found = self._instance.core.read_namespaced_service_account(self._account, "default")
        except client.ApiException as exc:
            assert exc.status == 404
            return None
        convert: Any = client.ApiClient()
        fields = convert.sanitize_for_serialization(found)
        for name in ("managedFields", "resourceVersion"):
            fields["metadata"].pop(name, None)
        return dict(fields)

    def _plain(self, value: Any) -> Any:
        """Replace ids by their order, and times, versions and the name by fixed texts."""
        if isinstance(value, dict):
            return {key: self._plain(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._plain(each) for each in value]
        if not isinstance(value, str):
            return value
        text = _TIME.sub("TIME", _VERSION.sub("VERSION", value)).replace(self._account, "ACCOUNT")
        return _GUID.sub(lambda hit: self._seen.setdefault(hit[0], f"id-{len(self._seen)}"), text)


def test_every_phase_leaves_the_objects_of_the_reference(
    programs: list[Azwi], instance: Instance, rest: RestClient
) -> None:
    issuer = instance.status["kubernetes"]["issuer"]
    scope = f"/subscriptions/{instance.status['subscription_id']}"
    histories = []
    for account, azwi in zip(("parity-one", "parity-two"), programs, strict=True):
        named = ("--aad-application-name", f"application-{account}")
        service_account = ("--service-account-name", account)
        trust = (*service_account, "--service-account-issuer-url", issuer)
        principal = ("--service-principal-name", f"application-{account}")
        role = ("--azure-scope", scope, "--azure-role", "Reader")
        phases = [
            ("create", "phase", "aad-application", *named),
            (
                "create",
                "phase",
                "sa",
                *service_account,
                *named,
                "--service-account-token-expiration",
                "2h",
            ),
            ("create", "phase", "federated-identity", *trust, *named),
            ("create", "phase", "ra", *role, *principal),
            ("create", *trust, *named, *role),
            ("delete", "phase", "fi", *trust, *named),
            ("delete", "phase", "service-account", *service_account),
            ("delete", "phase", "app", *named),
        ]
        states, history = _State(instance, rest, account), []
        for phase in phases:
            azwi(*phase)
            history.append(states.read())
        histories.append(history)
    theirs, ours = histories
    for number, (expected, found) in enumerate(zip(theirs, ours, strict=True)):
        _allow_differences(number, expected, found)
        assert found == expected, number


def _allow_differences(number: int, expected: list[Any], found: list[Any]) -> None:
    """Remove the differences that docs/operate/azwi.md lists.

    The reference names a credential by a hash of names that contain the account's, and its update of a
    ServiceAccount removes the expiration.
    """
    for state in (expected, found):
        for trusts in state[2]:
            for each in trusts:
                assert re.fullmatch(r"[\w-]{43}=", each.pop("name"))
        for assignments in state[3]:
            for each in assignments:
                # The reference has random names; ids are numbered in the order of their occurrence.
                each["properties"].pop("description", None)
    if number in (4, 5):  # the second creation, and the deletion of the credential
        annotation = "azure.workload.identity/service-account-token-expiration"
        assert annotation not in expected[4]["metadata"]["annotations"]
        assert found[4]["metadata"]["annotations"].pop(annotation) == "7200"


@pytest.mark.parametrize("to_file", [False, True], ids=["stdout", "file"])
def test_jwks_equals_that_of_the_reference_byte_for_byte(tmp_path: Path, *, to_file: bool) -> None:
    keys: list[rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey] = [
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP521R1()),
    ]
    public, private = tmp_path / "public.pem", tmp_path / "private.pem"
    public.write_bytes(
        b"".join(
            key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            for key in keys
        )
    )
    private.write_bytes(
        keys[0].private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    link = tmp_path / "azwi"
    link.symlink_to(Path(sys.executable).with_name("podpass"))
    results: list[tuple[bytes, bytes]] = []
    for program in (built("azwi"), link):
        target = tmp_path / f"{len(results)}.json"
        words = ["jwks", "--public-keys", f"{public},{private}", "--public-keys", str(public)]
        done = subprocess.run(
            [str(program), *words, *(["--output-file", str(target)] if to_file else [])],
            capture_output=True,
            check=True,
            timeout=60,
        )
        results.append((done.stdout, target.read_bytes() if to_file else b""))
    assert results[0] == results[1]
    assert results[0][0] or results[0][1]
