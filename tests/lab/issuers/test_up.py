"""Issuers outside the cluster, each as the issuer of a running `podpass up`."""

import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from podpass import names
from tests.lab.instance.instances import CLIENT, Podpass
from tests.servers.authority.issuer import Issuer
from tests.waiting import eventually

pytestmark = pytest.mark.processes


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[Issuer]:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "issuer-ca.pem")
    with Issuer(tmp_path / "issuer", ca) as found:
        yield found


@pytest.fixture
def podpass(tmp_path: Path) -> Iterator[Podpass]:
    found = Podpass(tmp_path / "data")
    yield found
    found("down")


def write_seed(path: Path, issuer: str, **place: Any) -> str:
    """Write a seed whose identity trusts an issuer; with a place, the seed names the issuer too."""
    credential = {"name": "web", "issuer": issuer, "subject": "system:serviceaccount:default:web"}
    seed: dict[str, Any] = {
        "identities": [{"name": "web", "client_id": CLIENT, "federated_credentials": [credential]}]
    }
    if place:
        seed["issuers"] = [{"url": issuer, **place}]
    (path / "seed.yaml").write_text(json.dumps(seed))
    return str(path / "seed.yaml")


def exchange(podpass: Podpass, assertion: str, client_id: str = CLIENT) -> str:
    """Exchange a token; return `granted`, or the error."""
    status = podpass.status()
    form = {
        "grant_type": "client_credentials",
        "client_id": client_id,
        "scope": "https://vault.azure.net/.default",
        "client_assertion_type": names.JWT_BEARER,
        "client_assertion": assertion,
    }
    url = f"{status['authority']}/{status['tenant_id']}/oauth2/v2.0/token"
    tls = ssl.create_default_context(cafile=status["ca_file"])
    try:
        with urllib.request.urlopen(
            url, data=urllib.parse.urlencode(form).encode(), context=tls
        ) as answer:
            assert "access_token" in json.load(answer)
            return "granted"
    except urllib.error.HTTPError as exc:
        return str(json.load(exc)["error_description"])


def test_private_issuer_is_refused_with_the_option_that_allows_it(
    podpass: Podpass, issuer: Issuer, tmp_path: Path
) -> None:
    seed = write_seed(tmp_path, issuer.url)
    podpass.up("--seed", seed)
    refused = exchange(podpass, issuer.token())
    assert "AADSTS501661:" in refused
    assert "`podpass up --private-issuer`" in refused
    podpass("down")
    podpass.up("--private-issuer", "127.0.0.0/8")
    refused = exchange(podpass, issuer.token())
    assert "(unreachable)" in refused
    assert "`podpass up` has --issuer-ca-file" in refused
    podpass("down")
    options = ("--private-issuer", "127.0.0.0/8", "--issuer-ca-file", "issuer-ca.pem")
    done = podpass("up", "--detach", "--port-base", "0", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert exchange(podpass, issuer.token()) == "granted"
    assert "AADSTS700213:" in exchange(podpass, issuer.token(account="other"))


def test_issuer_of_the_seed_is_trusted_after_an_apply_and_a_restart(
    podpass: Podpass, issuer: Issuer, tmp_path: Path
) -> None:
    podpass.up("--seed", write_seed(tmp_path, issuer.url))
    assert "(address)" in exchange(podpass, issuer.token())
    ca_file = str(tmp_path / "issuer-ca.pem")
    seed = write_seed(tmp_path, issuer.url, ca_file=ca_file, addresses=["127.0.0.0/8"])
    applied = podpass("apply", "-f", seed)
    assert applied.returncode == 0, applied.stderr
    assert exchange(podpass, issuer.token()) == "granted"
    podpass("down")
    status = podpass.up()
    assert exchange(podpass, issuer.token()) == "granted"
    assert (status["issuers"], status["pipelines"]) == ([issuer.url], [])
    assert f"outside issuers   {issuer.url}\n" in podpass("status").stdout


def test_folder_with_both_documents_is_an_issuer(
    podpass: Podpass, issuer: Issuer, tmp_path: Path
) -> None:
    ca = ssl.create_default_context(cafile=tmp_path / "issuer-ca.pem")
    folder = tmp_path / "published"
    for path in (".well-known/openid-configuration", "openid/v1/jwks"):
        (folder / path).parent.mkdir(parents=True)
        with urllib.request.urlopen(issuer.url + path, context=ca) as answer:
            (folder / path).write_bytes(answer.read())
    podpass.up("--seed", write_seed(tmp_path, issuer.url, folder=str(folder)))
    assert exchange(podpass, issuer.token()) == "granted"


async def test_second_instance_is_an_issuer_if_its_user_publishes_its_keys(
    podpass: Podpass, tmp_path: Path
) -> None:
    other = Podpass(tmp_path / "other")
    try:
        status = other.up()
        issuer, server = status["kubernetes"]["issuer"], status["kubernetes"]["server"]
        ca_file = status["ca_file"]
        podpass.up("--seed", write_seed(tmp_path, issuer, server=server, ca_file=ca_file))
        kubectl(other, "create", "serviceaccount", "web")
        token = kubectl(other, "create", "token", "web", "--audience", names.EXCHANGE_AUDIENCE)
        refused = exchange(podpass, token)
        assert "(status)" in refused
        assert "folder: in the seed of `podpass up`" in refused
        other("down")
        other.up("--public-issuer")
        # After a failure, the token service asks the issuer again within seconds.
        await eventually(lambda: exchange(podpass, token) == "granted", 30)
        other("down")
        other.up()
        bindings = kubectl(other, "get", "clusterrolebinding", "-o", "name")
        assert "podpass:public-issuer" not in bindings
    finally:
        other("down")


def kubectl(podpass: Podpass, *words: str) -> str:
    done = podpass("run", "--", "kubectl", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
