"""The exchange of a pod's token by a real process: seed, issuer on a private network, guard."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from podpass import names
from podpass.clock import system
from podpass.http.fetcher import Fetcher, FetchRules
from podpass.resource.authority_keys import PublishedKeys
from podpass.resource.guard import Guard, TokenRefused
from tests.servers.authority.issuer import Issuer
from tests.servers.authority.running import TENANT, Answer, Authority

pytestmark = pytest.mark.processes

WEB = "22222222-aaaa-4bbb-8ccc-000000000001"
SEED = f"""
identities:
  - name: web
    client_id: {WEB}
    federated_credentials:
      - {{name: web, issuer: cluster, subject: "system:serviceaccount:default:web"}}
"""
FETCHED = 'podpass_exchange_issuer_fetches_total{result="%s"}'


@pytest.fixture
def issuer(ca: trustme.CA, tmp_path: Path) -> Iterator[Issuer]:
    with Issuer(tmp_path / "issuer", ca) as issuer:
        yield issuer


def _seed(authority: Authority, issuer: Issuer) -> None:
    path = authority.folder / "seed.yaml"
    path.write_text(SEED)
    where = ["--database", authority.database, "--tenant-id", TENANT]
    done = authority.command("seed", "-f", str(path), *where, "--cluster-issuer", issuer.url)
    assert done.returncode == 0, done.stderr


def _exchange(authority: Authority, assertion: str) -> Answer:
    return authority.request_token(
        client_id=WEB,
        client_secret=None,
        client_assertion=assertion,
        client_assertion_type=names.JWT_BEARER,
    )


async def test_token_of_pod_is_exchanged_for_token_that_guard_accepts(
    authority: Authority, issuer: Issuer
) -> None:
    _seed(authority, issuer)
    authority.start(
        workers=2, private_issuer="127.0.0.0/8", issuer_ca_file=authority.folder / "ca.pem"
    )
    answer = _exchange(authority, issuer.token())
    assert answer.status == 200, answer.body
    port = int(authority.facts["service"].rpartition(":")[2])
    fetcher = Fetcher(
        FetchRules(
            hosts={f"localhost:{port}": ("127.0.0.1", port)}, ca_file=authority.folder / "ca.pem"
        )
    )
    url = f"https://localhost:{port}/{TENANT}/discovery/v2.0/keys"
    keys = PublishedKeys(fetcher, url, system)
    audience = frozenset({"https://vault.azure.net"})
    guard = Guard(tenant_id=TENANT, audiences=audience, authorities=(), keys=keys)
    caller = await guard.admit([f"Bearer {answer.body['access_token']}"])
    assert caller.app_id == WEB
    with pytest.raises(TokenRefused):
        await guard.admit([f"Bearer {issuer.token()}"])
    assert authority.metrics()[FETCHED % "ok"] >= 2
    refused = _exchange(authority, issuer.token(account="other"))
    assert refused.body["error_codes"] == [700213]


def test_private_issuer_is_not_fetched_unless_allowed(authority: Authority, issuer: Issuer) -> None:
    _seed(authority, issuer)
    authority.start(workers=1, issuer_ca_file=authority.folder / "ca.pem")
    assert _exchange(authority, issuer.token()).status >= 400
    assert authority.metrics()[FETCHED % "failed"] >= 1
    assert authority.metrics()[FETCHED % "ok"] == 0


def test_credential_seeded_at_runtime_is_trusted_within_a_second(
    authority: Authority, issuer: Issuer
) -> None:
    authority.start(
        workers=2, private_issuer="127.0.0.0/8", issuer_ca_file=authority.folder / "ca.pem"
    )
    assert _exchange(authority, issuer.token()).body["error_codes"] == [700016]
    _seed(authority, issuer)
    authority.until(lambda: _exchange(authority, issuer.token()).status == 200, seconds=2)
    assert {_exchange(authority, issuer.token()).status for _ in range(10)} == {200}
