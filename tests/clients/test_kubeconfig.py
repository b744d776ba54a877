"""The kubeconfig of an instance is read by released clients of Kubernetes.

Every suite with kubectl covers Go's client; every test of an instance uses the one for Python.
"""

import os
from collections.abc import Callable

import pytest

from tests.clients import toolchains
from tests.clients.installation import PROGRAMS, find_tool, run_installation
from tests.clients.toolchains import JAVA_OPTIONS, OLDEST
from tests.journey.instance import Instance
from tests.run_program import run_text

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

FILES = PROGRAMS / "kubeconfig"


def java(program: str) -> list[str]:
    maven = [find_tool("mvn"), "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib"]
    sources = [FILES / "Fabric8.java", FILES / "Official.java"]
    names = [each.name for each in sources]
    compiler = [find_tool("javac"), "--release", "17", "-d", "classes", "-cp", "lib/*", *names]
    files = [FILES / "pom.xml", *sources]
    folder = run_installation("java-kubeconfig", files, maven, compiler, newest=False)
    return [find_tool("java"), *JAVA_OPTIONS, "-cp", f"{folder}/classes:{folder}/lib/*", program]


def node() -> list[str]:
    files = [FILES / "package.json", FILES / "namespaces.mjs"]
    folder = toolchains.npm("node-kubeconfig", files, OLDEST)
    return [find_tool("node"), str(folder / "namespaces.mjs")]


CLIENTS: dict[str, Callable[[], list[str]]] = {
    "fabric8": lambda: java("Fabric8"),
    "java": lambda: java("Official"),
    "node": node,
}


@pytest.mark.parametrize("name", CLIENTS)
def test_client_signs_in_with_the_key_of_the_kubeconfig(instance: Instance, name: str) -> None:
    done = run_text(
        CLIENTS[name](),
        env={**os.environ, "KUBECONFIG": instance.status["kubernetes"]["kubeconfig"]},
        timeout=120,
    )
    assert "kube-system" in done.stdout.split(), done.stderr
