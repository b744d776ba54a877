"""The released azure-identity with other credentials than a pod's token: managed identities, certificates."""

import asyncio
import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
import trustme
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import (
    CertificateCredential,
    ClientAssertionCredential,
    WorkloadIdentityCredential,
)
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from podpass import names
from podpass.crypto import jose
from podpass.database import Database
from podpass.directory import resource_ids
from podpass.directory.model import FederatedCredential, Identity, IdentityKind, KeyCredential
from podpass.directory.store.directory import Directory
from podpass.kubernetes.service_account.names import subject
from tests.ports import free_port
from tests.servers.authority.issuer import Issuer
from tests.servers.authority.running import SCOPE, TENANT, Authority

pytestmark = pytest.mark.processes

MANAGED = "22222222-aaaa-4bbb-8ccc-000000000001"
APPLICATION = "22222222-aaaa-4bbb-8ccc-000000000002"
CERTIFIED = "22222222-aaaa-4bbb-8ccc-000000000003"
EXCHANGE = f"{names.EXCHANGE_AUDIENCE}/.default"


@pytest.fixture(scope="module")
def served(shared: Authority, ca: trustme.CA) -> Iterator[dict[str, Any]]:
    """Serve a directory with a managed identity and applications; yield the settings of the clients."""
    origin = f"https://localhost:{free_port()}"
    folder = shared.folder
    # Issued by an intermediate CA, so that there is a chain to send.
    leaf = ca.issue_cert("application", key_type=trustme.KeyType.RSA).private_key_and_cert_chain_pem
    leaf.write_to_path(folder / "application.pem")
    with Issuer(folder / "issuer", ca) as issuer:
        asyncio.run(_fill(shared.database, issuer.url, origin, leaf.bytes()))
        shared.start(
            workers=1,
            listen=f"127.0.0.1:{origin.rpartition(':')[2]}",
            origin=origin,
            private_issuer="127.0.0.0/8",
            issuer_ca_file=folder / "ca.pem",
        )
        (folder / "token").write_text(issuer.token())
        yield {
            "authority": origin,
            "disable_instance_discovery": True,
            "connection_verify": str(folder / "ca.pem"),
        }


@pytest.fixture
def pod(served: dict[str, Any], shared: Authority) -> Iterator[WorkloadIdentityCredential]:
    path = str(shared.folder / "token")
    credential = WorkloadIdentityCredential(
        tenant_id=TENANT, client_id=MANAGED, token_file_path=path, **served
    )
    with credential:
        yield credential


@pytest.mark.parametrize(
    ("application", "scope", "number"),
    [
        # One federated hop; tests/lab/instance/test_identity_endpoint.py has the token that is accepted.
        pytest.param(APPLICATION, EXCHANGE, "AADSTS700231", id="from-workload-identity"),
        pytest.param(APPLICATION, SCOPE, "AADSTS700222", id="another-audience"),
        pytest.param(CERTIFIED, EXCHANGE, "AADSTS7002", id="untrusted-identity"),
    ],
)
def test_managed_identity_token_is_refused_as_credential(
    served: dict[str, Any],
    pod: WorkloadIdentityCredential,
    application: str,
    scope: str,
    number: str,
) -> None:
    def assertion() -> str:
        return pod.get_token(scope).token

    with (
        ClientAssertionCredential(TENANT, application, assertion, **served) as credential,
        pytest.raises(ClientAuthenticationError, match=number),
    ):
        credential.get_token(SCOPE)


def test_token_has_the_capability_of_the_client(pod: WorkloadIdentityCredential) -> None:
    """With `enable_cae`, the SDK sends the parameter `claims`."""
    for enable_cae, capabilities in ((True, ["CP1"]), (False, None)):
        claims = jose.parse(pod.get_token(SCOPE, enable_cae=enable_cae).token).claims
        assert claims.get("xms_cc") == capabilities


@pytest.mark.parametrize("chain", [False, True])
def test_certificate_authenticates_application_with_and_without_chain(
    served: dict[str, Any], shared: Authority, *, chain: bool
) -> None:
    path = str(shared.folder / "application.pem")
    with CertificateCredential(
        TENANT, CERTIFIED, path, send_certificate_chain=chain, **served
    ) as credential:
        claims = jose.parse(credential.get_token(SCOPE).token).claims
    assert (claims["appid"], claims["appidacr"]) == (CERTIFIED, "2")


async def _fill(url: str, issuer: str, origin: str, pem: bytes) -> None:
    managed = _identity(
        MANAGED, IdentityKind.MANAGED_IDENTITY, _trust(issuer, subject("default", "web"))
    )
    own = _trust(f"{origin}/{TENANT}/v2.0", managed.object_id)
    async with Database(url) as database, Directory(database) as directory:
        await directory.identities.put(managed)
        await directory.identities.put(_identity(APPLICATION, IdentityKind.APPLICATION, own))
        await directory.identities.put(_with_certificate(pem))


def _trust(issuer: str, subject: str) -> FederatedCredential:
    return FederatedCredential(
        name="trust", issuer=issuer, subject=subject, audiences=(names.EXCHANGE_AUDIENCE,)
    )


def _identity(client_id: str, kind: IdentityKind, trust: FederatedCredential) -> Identity:
    managed = kind is IdentityKind.MANAGED_IDENTITY
    return Identity(
        tenant_id=TENANT,
        client_id=client_id,
        object_id=client_id.replace("aaaa", "bbbb"),
        name=client_id,
        kind=kind,
        resource_id=resource_ids.identity_id(TENANT, "group", client_id) if managed else None,
        credentials=(trust,),
    )


def _with_certificate(pem: bytes) -> Identity:
    der = x509.load_pem_x509_certificate(pem[pem.index(b"-----BEGIN CERTIFICATE") :]).public_bytes(
        serialization.Encoding.DER
    )
    key = KeyCredential(
        key_id="99999999-9999-4999-8999-999999999999",
        display_name="of its own",
        certificate=der,
        thumbprint=jose.b64encode(hashlib.sha1(der).digest()),
        begins=0,
        expires=4e9,
    )
    return Identity(
        tenant_id=TENANT,
        client_id=CERTIFIED,
        object_id=CERTIFIED.replace("aaaa", "bbbb"),
        name="certified",
        kind=IdentityKind.APPLICATION,
        keys=(key,),
    )
