"""Issuers whose documents Entra cannot use, each served over https and named exactly."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from podpass.crypto import jose
from podpass.diagnose.doctor import cloud_checks
from podpass.diagnose.doctor.checks import examine
from podpass.diagnose.doctor.issuer_facts import IssuerReader, find_private_name
from podpass.diagnose.doctor.model import (
    CloudFacts,
    ClusterFacts,
    ContainerFacts,
    Diagnosis,
    Facts,
    PodToken,
)
from podpass.facts import Unread
from podpass.provision.connection import AzureConnection, RequestLimits
from tests.diagnose.doctor import issuer_server
from tests.diagnose.doctor.issuer_server import DISCOVERY, ISSUER, KEY_ID, KEYS, Answers
from tests.ports import free_port
from tests.rsa_keys import OTHER_KEY

_UNREAD = Unread("not part of this test")
Change = Callable[[Answers], object]


def _facts(issuer: str, key_id: str = KEY_ID) -> ClusterFacts:
    """Return a workload whose token in the pod has an issuer and a key."""
    token = PodToken(
        issuer=issuer,
        subject="system:serviceaccount:default:web",
        audiences=("api://AzureADTokenExchange",),
        expires=3600,
        issued=0,
        key_id=key_id,
    )
    container = ContainerFacts(
        name="app",
        token_file="",
        token=token,
        environment=_UNREAD,
        clock_offset=_UNREAD,
        authority=_UNREAD,
        libraries=_UNREAD,
    )
    return ClusterFacts(
        now=0,
        server="https://cluster.example",
        namespace_name="default",
        account_name="web",
        namespace={},
        account={},
        registrations=(),
        preview=_UNREAD,
        discovery={"issuer": issuer},
        jwks={"keys": [{"kid": KEY_ID}]},
        container=container,
    )


def _diagnose(
    folder: Path, answers: Answers, cluster: ClusterFacts, *, is_trusted: bool = True
) -> Diagnosis:
    async def run() -> Diagnosis:
        async with issuer_server.serving(folder, answers, is_trusted=is_trusted) as connection:
            assert isinstance(cluster.issuer, str)
            found = await IssuerReader(connection).read(cluster.issuer)
        return _examine(cluster, CloudFacts(issuer=found))

    return asyncio.run(run())


def _examine(cluster: ClusterFacts, cloud: CloudFacts) -> Diagnosis:
    """Return the results of the checks of the issuer."""
    found, ids = (
        examine(Facts(cluster=cluster, cloud=cloud)),
        {each.id for each in cloud_checks.ISSUER},
    )
    return replace(found, findings=[each for each in found.findings if each.check in ids])


def _checks(found: Diagnosis) -> list[str]:
    return [each.check for each in found.findings]


def _discovery(**changes: Any) -> Change:
    """Change members of the discovery document; None removes one."""

    def change(answers: Answers) -> None:
        body = answers[DISCOVERY][2] | changes
        answers[DISCOVERY] = 200, {}, {key: each for key, each in body.items() if each is not None}

    return change


def _answer(path: str, status: int, body: Any = b"", **headers: str) -> Change:
    def change(answers: Answers) -> None:
        answers[path] = status, headers, body

    return change


def _key(key: dict[str, Any]) -> Change:
    return _answer(KEYS, 200, {"keys": [key]})


def _ec_key() -> dict[str, Any]:
    numbers = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    x, y = (jose.b64encode(each.to_bytes(32)) for each in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "kid": KEY_ID, "x": x, "y": y}


_RSA = jose.rsa_jwk(OTHER_KEY.public_key(), KEY_ID)


@dataclass(frozen=True, kw_only=True)
class BrokenIssuer:
    """A change of a correct issuer, and the check that names it."""

    id: str
    finding: str
    says: str
    change: Change


_ISSUERS = (
    BrokenIssuer(
        id="no-document",
        finding="discovery-unreachable",
        says="has the status 404",
        change=_answer(DISCOVERY, 404),
    ),
    BrokenIssuer(
        id="sign-in-required",
        finding="discovery-unreachable",
        says="has the status 401",
        change=_answer(DISCOVERY, 401),
    ),
    BrokenIssuer(
        id="redirect",
        finding="discovery-unreachable",
        says="is redirected to www.issuer.example; Entra follows no redirect",
        change=_answer(DISCOVERY, 302, location="https://www.issuer.example/"),
    ),
    BrokenIssuer(
        id="page-in-place-of-document",
        finding="discovery-unreachable",
        says="is not a JSON object",
        change=_answer(DISCOVERY, 200, b"<html>"),
    ),
    BrokenIssuer(
        id="large-document",
        finding="discovery-unreachable",
        says="Entra reads at most 65536",
        change=_discovery(note="x" * 70_000),
    ),
    BrokenIssuer(
        id="issuer-without-slash",
        finding="discovery-issuer-differs",
        says="the slash at the end differs",
        change=_discovery(issuer=ISSUER.rstrip("/")),
    ),
    BrokenIssuer(
        id="issuer-of-other-cluster",
        finding="discovery-issuer-differs",
        says="it names another issuer",
        change=_discovery(issuer="https://issuer.example/other/"),
    ),
    BrokenIssuer(
        id="no-keys-address",
        finding="discovery-incomplete",
        says="no `jwks_uri`",
        change=_discovery(jwks_uri=None),
    ),
    BrokenIssuer(
        id="keys-without-tls",
        finding="discovery-incomplete",
        says="no `jwks_uri` with an https URL",
        change=_discovery(jwks_uri="http://issuer.example/keys"),
    ),
    BrokenIssuer(
        id="empty-endpoint",
        finding="discovery-incomplete",
        says="`authorization_endpoint` is empty",
        change=_discovery(authorization_endpoint=""),
    ),
    BrokenIssuer(
        id="empty-subject-types",
        finding="discovery-incomplete",
        says="`subject_types_supported` is empty",
        change=_discovery(subject_types_supported=[]),
    ),
    BrokenIssuer(
        id="keys-at-api-server",
        finding="keys-unreachable",
        says="10.0.0.1 is private",
        change=_discovery(jwks_uri="https://10.0.0.1:6443/openid/v1/jwks"),
    ),
    BrokenIssuer(
        id="no-keys",
        finding="keys-unreachable",
        says="the JWKS has the status 403",
        change=_answer(KEYS, 403),
    ),
    BrokenIssuer(
        id="keys-are-no-list",
        finding="keys-unreachable",
        says="no list `keys`",
        change=_answer(KEYS, 200, {"keys": {}}),
    ),
    BrokenIssuer(
        id="key-of-other-cluster",
        finding="key-not-published",
        says=f"has no key {KEY_ID}, which signs the tokens; it has other",
        change=_key({**_RSA, "kid": "other"}),
    ),
    BrokenIssuer(
        id="elliptic-curve",
        finding="key-refused",
        says="its type is EC, and Entra accepts RSA keys only",
        change=_key(_ec_key()),
    ),
    BrokenIssuer(
        id="small-key",
        finding="key-refused",
        says="the RSA modulus must have 2048 to",
        change=_key({**_RSA, "n": jose.b64encode(b"\xc1" * 128)}),
    ),
    BrokenIssuer(
        id="key-for-encryption",
        finding="key-refused",
        says="not for signatures",
        change=_key({**_RSA, "use": "enc"}),
    ),
    BrokenIssuer(
        id="key-for-other-algorithm",
        finding="key-refused",
        says="its `alg` is RS512",
        change=_key({**_RSA, "alg": "RS512"}),
    ),
)


@pytest.mark.parametrize("issuer", _ISSUERS, ids=lambda each: each.id)
def test_broken_issuer_is_named(tmp_path: Path, issuer: BrokenIssuer) -> None:
    answers = issuer_server.healthy()
    issuer.change(answers)
    found = _diagnose(tmp_path, answers, _facts(ISSUER))
    assert _checks(found)[:1] == [issuer.finding]
    assert issuer.says in next(e.message for e in found.findings if e.check == issuer.finding)


def test_healthy_issuer_is_not_named(tmp_path: Path) -> None:
    found = _diagnose(tmp_path, issuer_server.healthy(), _facts(ISSUER))
    assert _checks(found) == []
    assert {"discovery-unreachable", "key-not-published", "key-refused"} <= set(found.passed)


def test_certificate_that_is_not_trusted_is_named(tmp_path: Path) -> None:
    found = _diagnose(tmp_path, issuer_server.healthy(), _facts(ISSUER), is_trusted=False)
    assert _checks(found)[0] == "discovery-unreachable"
    assert "its certificate is not trusted" in found.findings[0].message


async def test_keys_at_a_private_address_are_not_contacted(tmp_path: Path) -> None:
    answers = issuer_server.healthy()
    _discovery(jwks_uri="https://10.0.0.1:6443/openid/v1/jwks")(answers)
    async with issuer_server.serving(tmp_path, answers) as connection:
        found = await IssuerReader(connection).read(ISSUER)
    assert found.keys_private == "10.0.0.1 is private"
    assert found.keys is None


def test_published_keys_are_compared_with_the_api_servers_keys_without_a_token(
    tmp_path: Path,
) -> None:
    cluster = replace(_facts(ISSUER), container=None)
    assert _checks(_diagnose(tmp_path, issuer_server.healthy(), cluster)) == []
    other = replace(cluster, jwks={"keys": [{"kid": "new"}]})
    assert _checks(_diagnose(tmp_path, issuer_server.healthy(), other)) == ["key-not-published"]


@pytest.mark.parametrize(
    ("issuer", "finding", "says"),
    [
        ("http://issuer.example/", "issuer-invalid", "not an https URL"),
        ("https://issuer.example/?tenant=1", "issuer-invalid", "a query or a fragment"),
        ("https://issuer.example:nine/", "issuer-invalid", "is not a URL"),
        ("https://kubernetes.default.svc.cluster.local", "issuer-private", "cluster.local"),
        ("https://localhost:6443", "issuer-private", "localhost is not a name of the internet"),
        ("https://10.1.2.3/", "issuer-private", "10.1.2.3 is private"),
        ("https://[fd00::1]/", "issuer-private", "fd00::1 is private"),
        ("https://169.254.169.254/", "issuer-private", "169.254.169.254 is private"),
    ],
)
def test_issuer_that_entra_cannot_reach_is_named_and_not_contacted(
    issuer: str, finding: str, says: str
) -> None:
    async def run() -> Diagnosis:
        # Nothing listens at the proxy: a request would fail with another finding.
        limits = RequestLimits(attempts=1, seconds=20.0)
        proxy = f"http://127.0.0.1:{free_port()}"
        found = await IssuerReader(AzureConnection(https_proxy=proxy, limits=limits)).read(issuer)
        assert found.discovery is None
        return _examine(_facts(issuer), CloudFacts(issuer=found))

    found = asyncio.run(run())
    assert found.findings[0].check == finding
    assert says in found.findings[0].message


async def test_name_with_a_private_address_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = IssuerReader(AzureConnection(limits=RequestLimits(attempts=1, seconds=1.0)))

    async def find(host: str) -> tuple[str, ...]:
        return ("203.0.114.1", "192.168.1.20") if host == "issuer.example" else ()

    monkeypatch.setattr(reader._resolver, "find", find)
    found = await reader.read(ISSUER)
    assert (
        found.private == "issuer.example has the address 192.168.1.20, which is not on the internet"
    )
    assert found.discovery is None


@pytest.mark.parametrize(
    ("host", "is_private"),
    [
        ("eastus.oic.prod-aks.azure.com", False),
        ("ISSUER.Example.", False),
        ("8.8.8.8", False),
        ("kubernetes", True),
        ("cluster.LOCAL.", True),
        ("vault.internal", True),
        ("fe80::1%eth0", True),
    ],
)
def test_private_host_names_are_recognized(host: str, is_private: bool) -> None:
    assert bool(find_private_name(host)) is is_private
