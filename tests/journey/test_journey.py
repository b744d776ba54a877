"""The whole path over HTTP with the released SDK in a pod, the identity mappings, and the issuer outside."""

import json
import sys
import uuid

from podpass.crypto import jose
from podpass.diagnose.trace.hop import select_hops
from podpass.diagnose.trace.reader import end_position, read_all
from tests.journey.instance import AUDIENCE, CLIENT, READ, SECOND_CLIENT, Instance


def test_pod_reads_a_secret_without_a_stored_credential(instance: Instance) -> None:
    log = instance.data_dir / "podpass.log"
    mark = end_position(log)
    phase, printed = instance.run_pod("whole", "web")
    assert (phase, printed) == ("Succeeded", "hello\n")
    hops = select_hops(read_all(log, mark))
    assert [hop.stage for hop in hops] == [
        "account",
        "admission",
        "assertion",
        "exchange",
        "resource",
    ]
    assert all(hop.checked and hop.took_ms >= 0 for hop in hops)


def test_several_accounts_share_one_identity(instance: Instance) -> None:
    instance.account("batch", {"azure.workload.identity/client-id": CLIENT})
    for name, account in (("n-to-1-web", "web"), ("n-to-1-batch", "batch")):
        assert instance.run_pod(name, account) == ("Succeeded", "hello\n")


def test_one_pod_uses_several_identities(instance: Instance) -> None:
    phase, printed = instance.run_pod(
        *("one-to-n", "web", "journey-vault"),
        *(f"journey-vault={CLIENT}", f"second-vault={SECOND_CLIENT}"),
    )
    assert (phase, printed) == ("Succeeded", "hello\nhello from the second\n")


def test_a_program_on_the_host_reads_the_secret_through_podpass_run(instance: Instance) -> None:
    assert instance.run_on_host("web", [sys.executable, "-c", READ, "journey-vault"]) == "hello\n"


async def test_access_token_contains_client_and_audience(instance: Instance) -> None:
    status, answer = await instance.exchange(
        instance.token("web"), correlation_id=str(uuid.uuid4())
    )
    assert status == 200, json.dumps(answer)
    claims = jose.parse(answer["access_token"]).claims
    assert claims["aud"] == "https://vault.azure.net"
    assert claims["iss"] == f"https://sts.windows.net/{instance.status['tenant_id']}/"
    assert claims["appid"] == CLIENT
    # `nbf` is five minutes in the past, for clocks that are behind. No recording shows that Entra does so.
    assert claims["exp"] - claims["iat"] == 86399 + 300
    assert answer["expires_in"] == 86399


# A program without podpass code: proxy and CA come from the variables of `podpass run`.
_READ = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=10).read().decode())"


def _fetch(instance: Instance, url: str) -> dict[str, object]:
    done = instance.podpass("run", "--", sys.executable, "-c", _READ, url)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_issuer_publishes_discovery_document_and_keys_of_its_tokens(instance: Instance) -> None:
    issuer = instance.status["kubernetes"]["issuer"]
    document = _fetch(instance, f"{issuer}.well-known/openid-configuration")
    assert document["issuer"] == issuer
    keys = jose.load_jwks(_fetch(instance, str(document["jwks_uri"])))
    token = jose.parse(instance.token("web"))
    (key,) = [each for each in keys if each.kid == token.kid]
    jose.verify(token, key)
    assert token.claims["iss"] == issuer
    assert token.claims["aud"] == [AUDIENCE]
