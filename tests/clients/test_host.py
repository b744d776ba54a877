"""The same programs outside the cluster: with `podpass run`, and without the gateway."""

import os

import pytest

from tests.clients.catalogue import CLIENTS, GRAPH, ClientPackage
from tests.clients.program_output import parse_output
from tests.clients.toolchains import NEWEST
from tests.journey.instance import CLIENT, Instance
from tests.run_program import run_text

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

IDENTITY = [each for each in CLIENTS if "workload" in each.styles and each.age == NEWEST]
# azmcp supports only Microsoft's clouds.
DIRECT = [each for each in CLIENTS if each.language != ".NET"]
PATIENCE_SECONDS = 60


@pytest.mark.parametrize("client", IDENTITY, ids=[each.name for each in IDENTITY])
def test_a_program_on_the_host_reads_the_secret_through_the_gateway(
    instance: Instance, client: ClientPackage
) -> None:
    printed = instance.run_on_host("web", [*client.command(), "workload", f"{GRAPH}/.default"])
    assert parse_output(printed)["secret"] == "hello"


@pytest.mark.parametrize("client", DIRECT, ids=[each.name for each in DIRECT])
def test_program_gets_its_token_directly_from_the_authority(
    instance: Instance, request: pytest.FixtureRequest, client: ClientPackage
) -> None:
    """Without a proxy: AZURE_AUTHORITY_HOST, the CA, and instance discovery disabled if possible."""
    host = [request.getfixturevalue("storage")] if client.storage else []
    done = run_text(
        [*client.command(), *host, client.styles[-1], f"{GRAPH}/.default"],
        env=direct(instance),
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    said = parse_output(done.stdout)
    assert said.get("audience", GRAPH) == GRAPH
    assert said.get("blob", "first") == "first"


def direct(instance: Instance) -> dict[str, str]:
    """Return the environment variables of a program that uses no gateway."""
    token_file = instance.data_dir.parent / "direct-token"
    token_file.write_text(instance.token("web"))
    ca, store = instance.status["ca_file"], instance.data_dir / "ca" / "truststore.p12"
    trusted = ("trustStoreType=PKCS12", "trustStorePassword=changeit", f"trustStore={store}")
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(instance.data_dir.parent),
        "DIRECT": "yes",
        "AZURE_TENANT_ID": instance.status["tenant_id"],
        "AZURE_CLIENT_ID": CLIENT,
        "AZURE_FEDERATED_TOKEN_FILE": str(token_file),
        "AZURE_AUTHORITY_HOST": instance.status["authority"] + "/",
        "REQUESTS_CA_BUNDLE": ca,
        "SSL_CERT_FILE": ca,
        "NODE_EXTRA_CA_CERTS": ca,
        "JAVA_TOOL_OPTIONS": " ".join(f"-Djavax.net.ssl.{each}" for each in trusted),
    }
