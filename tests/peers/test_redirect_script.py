"""The reference's init-iptables.sh v1.6.0 and `podpass proxy-init`, with the real iptables."""

from pathlib import Path

import pytest

from bench.peers.build import CannotBuild, module_folder
from tests.servers.proxy.namespace import Namespace, namespace

__all__ = ["namespace"]  # a fixture

pytestmark = [pytest.mark.peers, pytest.mark.timeout(1800)]

MODULE = "github.com/Azure/azure-workload-identity"


@pytest.fixture(scope="module")
def script() -> Path:
    try:
        return module_folder("azwi-proxy", MODULE) / "init" / "init-iptables.sh"
    except CannotBuild as exc:
        pytest.skip(f"azwi-proxy: {exc}")


def redirect_rules(namespace: Namespace) -> list[str]:
    """Return the rules of the redirection; the order of the chains has no meaning."""
    return sorted(rule for rule in namespace.rules() if "AZWI" in rule)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"PROXY_PORT": "9000"},
        {
            "PROXY_PORT": "9000",
            "PROXY_UID": "7",
            "METADATA_IP": "10.0.0.9",
            "METADATA_PORT": "8080",
        },
    ],
    ids=("defaults", "port", "all"),
)
def test_iptables_rules_equal_those_of_the_reference(
    namespace: Namespace, script: Path, settings: dict[str, str]
) -> None:
    assert namespace.podpass("proxy-init", **settings).returncode == 0
    ours = redirect_rules(namespace)
    for command in (("-F",), ("-X",)):
        namespace.run("iptables", "-t", "nat", *command)
    assert namespace.run("sh", str(script), **settings).returncode == 0
    assert ours == redirect_rules(namespace)
    # A pod in which both ran is redirected once.
    assert namespace.podpass("proxy-init", **settings).returncode == 0
    assert ours == redirect_rules(namespace)


def test_second_run_of_the_reference_adds_rules_and_succeeds(
    namespace: Namespace, script: Path
) -> None:
    namespace.run("sh", str(script))
    once = redirect_rules(namespace)
    assert namespace.run("sh", str(script)).returncode == 0
    assert len(redirect_rules(namespace)) > len(once)
    assert namespace.podpass("proxy-init").returncode == 0
    assert redirect_rules(namespace) == once


def test_reference_succeeds_although_a_rule_failed(
    namespace: Namespace, script: Path, tmp_path: Path
) -> None:
    (fake := tmp_path / "iptables").write_text(
        '#!/bin/sh\ncase "$*" in *--list*) ;; *) exit 2 ;; esac\n'
    )
    fake.chmod(0o755)
    path = f"{tmp_path}:{namespace.environ['PATH']}"
    assert namespace.run("sh", str(script), PATH=path).returncode == 0
    assert namespace.podpass("proxy-init", PATH=path).returncode == 1
