"""`podpass.testcontainers` with the Testcontainers of Python, Java and Node, on Docker Engine and podman."""

from pathlib import Path

import pytest

from tests.clients.installation import find_tool, run_installation
from tests.clients.toolchains import OLDEST, npm
from tests.containers.engine import Engine
from tests.containers.guide import write_listings
from tests.node.images import ROOT

_PROGRAMS = Path(__file__).parent / "client_programs"
_SEED = ROOT / "examples" / "quickstart" / "seed.yaml"


def _run_tests(engine: Engine, python: str, folder: Path, *names: str) -> str:
    write_listings(folder, *names)
    command = (python, "-m", "pytest", "-p", "no:cacheprovider", "-v")
    return engine.run(*command, folder=folder).stdout


def test_listings_of_python_pass(docker: Engine, python: str, tmp_path: Path) -> None:
    """A program on the host, and unmodified images with workload identity and with a managed identity."""
    names = ("conftest.py", "test_host.py", "test_container.py", "test_managed_identity.py")
    assert "3 passed" in _run_tests(docker, python, tmp_path, *names)


def test_listings_of_python_pass_with_podman(podman: Engine, python: str, tmp_path: Path) -> None:
    names = ("conftest.py", "test_host.py", "test_container.py")
    assert "2 passed" in _run_tests(podman, python, tmp_path, *names)


@pytest.fixture(scope="module")
def answers(docker: Engine, python: str) -> dict[str, str]:
    """Run the program that tries what a container may do; return its lines by their names."""
    output = docker.run(python, _PROGRAMS / "limits.py", _SEED).stdout
    return dict(line.split(": ", 1) for line in output.splitlines())


def test_seed_of_a_file_is_applied(answers: dict[str, str]) -> None:
    assert answers["identity"] == "7c1f4d2e-5b0a-4f6e-9d3c-2a8b6e1f0c57"


def test_reset_removes_what_a_test_has_created(answers: dict[str, str]) -> None:
    assert answers["after reset"] == "the instance has no identity 'late'"


def test_kubectl_uses_the_kubeconfig_on_the_host(answers: dict[str, str]) -> None:
    assert answers["kubectl"] == "serviceaccount/web"


def test_ca_key_stays_in_the_container(answers: dict[str, str]) -> None:
    assert "ca/ca.pem" in answers["files"]
    assert "ca.key" not in answers["files"]


@pytest.mark.parametrize("service", ["webhook", "kubelet", "issuer", "azure", "vault", "console"])
def test_other_services_listen_on_loopback_only(answers: dict[str, str], service: str) -> None:
    assert answers[f"{service} from a container"] == "Connection refused"


@pytest.mark.parametrize("service", ["gateway", "kubernetes", "authority", "control"])
def test_exposed_service_is_reached_from_a_container(answers: dict[str, str], service: str) -> None:
    assert answers[f"{service} from a container"] == "connected"


@pytest.mark.parametrize(
    "target", ["127.0.0.1:18448", "localhost:18442", "podpass:18447", "169.254.169.254:80"]
)
def test_gateway_connects_a_container_to_no_loopback_service(
    answers: dict[str, str], target: str
) -> None:
    assert answers[f"tunnel to {target}"] == "502"


def test_bad_seed_fails_the_start_with_its_cause(answers: dict[str, str]) -> None:
    assert "unknown key 'vault'" in answers["bad seed"]


def test_container_without_network_is_explained(answers: dict[str, str]) -> None:
    assert answers["no network"] == "other containers cannot reach this one"


@pytest.fixture(scope="module")
def plain(docker: Engine, python: str) -> dict[str, str]:
    """Run the program that tries what a container next to the cloud half may do."""
    output = docker.run(python, _PROGRAMS / "cloud_limits.py").stdout
    return dict(line.split(": ", 1) for line in output.splitlines())


def test_identity_without_a_role_is_refused_in_another_container(plain: dict[str, str]) -> None:
    assert plain["powerless"] == "True"


@pytest.mark.parametrize("name", ["missing", "app"])
def test_identity_that_is_not_a_managed_identity_of_the_seed_is_explained(
    plain: dict[str, str], name: str
) -> None:
    expected = f"the seed has no managed identity '{name}'; it has: powerless, web"
    assert plain[name] == expected


def test_names_resolve_to_the_cloud_and_only_for_existing_vaults(plain: dict[str, str]) -> None:
    assert plain["demo-vault.vault.azure.net"] == plain["address"]
    assert plain["other-vault.vault.azure.net"] == "Name or service not known"
    assert plain["podpass"] == plain["address"], "Docker's own names still resolve"


def test_container_without_an_identity_has_no_header_value(plain: dict[str, str]) -> None:
    assert plain["header"] == "False"


def test_listing_of_java_reads_the_secret(docker: Engine, tmp_path: Path) -> None:
    listing = write_listings(tmp_path, "ReadSecret.java") / "ReadSecret.java"
    maven = [find_tool("mvn"), "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib"]
    compiler = [find_tool("javac"), "-d", "classes", "-cp", "lib/*", listing.name]
    files = [_PROGRAMS / "java" / "pom.xml", listing, _SEED]
    folder = run_installation("testcontainers-java", files, maven, compiler, newest=False)
    done = docker.run(find_tool("java"), "-cp", "classes:lib/*", "ReadSecret", folder=folder)
    assert done.stdout.splitlines()[-1] == "hello from the vault"


def test_listing_of_node_reads_the_secret(docker: Engine, tmp_path: Path) -> None:
    listings = write_listings(tmp_path, "with-podpass.mjs", "read_secret.mjs")
    files = [_PROGRAMS / "node" / "package.json", *sorted(listings.iterdir()), _SEED]
    folder = npm("testcontainers-node", files, OLDEST)
    node = find_tool("node")
    command = (node, "with-podpass.mjs", node, "read_secret.mjs")
    assert docker.run(*command, folder=folder).stdout == "hello from the vault\n"
