"""examples/compose: an Azure for unmodified images without a cluster, run by the released docker-compose."""

from collections.abc import Iterator

import pytest

from podpass.lab.names.injection import BundleNames, build_variables
from tests.containers import images
from tests.containers.engine import Engine

_PROJECT = "azure"
_TRUST = images.COMPOSE_EXAMPLE / "trust.env"
_COMPOSE = (
    *("docker-compose", "--project-name", _PROJECT),
    *("--file", images.COMPOSE_EXAMPLE / "compose.yaml"),
)
_APPLICATIONS = ("app", "machine")


@pytest.fixture(scope="module")
def project(docker: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Start the services with images that are on the engine, until the last one has started."""
    folder = tmp_path_factory.mktemp("compose")
    for build in (images.example_archive, images.azurite_archive):
        docker.load(build(folder))
    docker.run(*_COMPOSE, "up", "--detach", "--no-build")
    try:
        yield docker
    finally:
        docker.run(*_COMPOSE, "down", "--volumes")


def _container(service: str) -> str:
    return f"{_PROJECT}_{service}_1"


def _python(project: Engine, service: str, text: str) -> str:
    """Run a program in a container; return what it prints."""
    done = project.run("docker", "exec", _container(service), "python", "-c", text)
    return done.stdout.strip()


@pytest.mark.parametrize("service", _APPLICATIONS)
def test_unmodified_image_reads_a_secret_and_a_blob(project: Engine, service: str) -> None:
    ended = project.run("docker", "wait", _container(service)).stdout
    said = project.run("docker", "logs", _container(service)).stdout
    assert (ended, said) == ("0\n", "hello from the vault\n")


def test_variables_of_the_example_are_those_of_a_cluster() -> None:
    lines = [line for line in _TRUST.read_text().splitlines() if not line.startswith("#")]
    assert dict(line.split("=", 1) for line in lines) == build_variables(BundleNames())


@pytest.mark.parametrize("service", ["podpass", "azurite", *_APPLICATIONS])
def test_containers_have_no_privileges(project: Engine, service: str) -> None:
    chosen = (
        "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}}"
        " {{.HostConfig.SecurityOpt}}"
    )
    name = _container(service)
    found = project.run("docker", "inspect", "--format", chosen, name).stdout
    assert found == "65532:65532 true [ALL] [no-new-privileges:true]\n"


def test_application_has_the_folder_of_the_ca_read_only_and_no_private_key(project: Engine) -> None:
    mounts = "{{range .Mounts}}{{.Destination}} {{.RW}}{{end}}"
    name = _container("app")
    found = project.run("docker", "inspect", "--format", mounts, name).stdout
    assert found == "/etc/podpass/trust false\n"
    assert _python(project, "podpass", _COUNT_KEYS) == "0"


_COUNT_KEYS = """
from pathlib import Path
print(sum(b"PRIVATE KEY" in each.read_bytes() for each in Path("/trust").iterdir()))
"""
_ASK = """
import dns.message, dns.query, dns.rcode, sys
ask = dns.query.tcp if sys.argv[2] == "tcp" else dns.query.udp
reply = ask(dns.message.make_query(sys.argv[1], "A"), "172.30.53.2", timeout=20)
print([str(item) for rrset in reply.answer for item in rrset] or dns.rcode.to_text(reply.rcode()))
"""


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("login.microsoftonline.com", "['172.30.53.2']"),
        ("orders.blob.core.windows.net", "['172.30.53.2']"),
        ("other.blob.core.windows.net", "NXDOMAIN"),
        ("other-vault.vault.azure.net", "NXDOMAIN"),
    ],
    ids=["login", "account", "no-account", "no-vault"],
)
def test_resolver_answers_azures_names(
    project: Engine, name: str, found: str, protocol: str
) -> None:
    asked = project.run(
        "docker", "exec", _container("podpass"), "python", "-c", _ASK, name, protocol
    )
    assert asked.stdout.strip() == found


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_other_name_is_forwarded_to_the_dns_of_docker(project: Engine, protocol: str) -> None:
    """Only Docker's DNS server knows the name of a container."""
    command = ("docker", "exec", _container("podpass"), "python", "-c", _ASK)
    addresses = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    name = _container("azurite")
    address = project.run("docker", "inspect", "--format", addresses, name).stdout.strip()
    asked = project.run(*command, "azurite", protocol).stdout.strip()
    assert asked == f"['{address}']"
