"""compose.yaml, run by the released docker-compose."""

from collections.abc import Iterator

import pytest

from tests.containers.engine import Engine
from tests.node.images import ROOT

_COMPOSE = ("docker-compose", "--project-name", "podpass", "--file", ROOT / "compose.yaml")


@pytest.fixture(scope="module")
def project(docker: Engine) -> Iterator[Engine]:
    """Start the services with the image that is on the engine, until the last one has started."""
    docker.run(*_COMPOSE, "up", "--detach", "--no-build")
    try:
        yield docker
    finally:
        docker.run(*_COMPOSE, "down", "--volumes")


def test_application_reads_its_secret(project: Engine) -> None:
    assert project.run("docker", "wait", "podpass_app_1").stdout == "0\n"
    assert project.run("docker", "logs", "podpass_app_1").stdout == "hello from the vault\n"


def test_service_account_is_created_once(project: Engine) -> None:
    said = project.run("docker", "logs", "podpass_cluster_1").stdout
    assert said == "serviceaccount/web created\n"


@pytest.mark.parametrize("service", ["podpass", "app"])
def test_containers_have_no_privileges(project: Engine, service: str) -> None:
    chosen = "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}}"
    found = project.run("docker", "inspect", "--format", chosen, f"podpass_{service}_1").stdout
    assert found == "true [ALL] [no-new-privileges:true]\n"


def test_data_of_the_instance_is_in_memory_and_private(project: Engine) -> None:
    mounted = project.run("docker", "exec", "podpass_podpass_1", "python", "-c", _MOUNT).stdout
    assert mounted.split() == ["tmpfs", "65532", "0o700"]


_MOUNT = """
import os
kind = [line.split()[2] for line in open("/proc/mounts") if line.split()[1] == "/instance"][0]
print(kind, os.stat("/instance").st_uid, oct(os.stat("/instance").st_mode & 0o777))
"""
