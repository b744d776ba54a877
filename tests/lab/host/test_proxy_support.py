"""Programs of the host: what they take from the pod of admission, and a Node that ignores proxy variables."""

from pathlib import Path

import pytest

from podpass import names
from podpass.lab.host.host_identity import Account, build_pod, parse_injection
from podpass.lab.host.proxy_support import find_proxy_warning, reads_proxy


@pytest.mark.parametrize(
    ("version", "reads"),
    [
        ((18, 20), False),
        ((20, 20), False),
        ((22, 20), False),
        ((22, 21), True),
        ((23, 11), False),
        ((24, 4), False),
        ((24, 5), True),
        ((26, 0), True),
    ],
)
def test_node_reads_proxy_variables_from_versions_22_21_and_24_5_on(
    version: tuple[int, int], reads: bool
) -> None:
    assert reads_proxy(version) is reads


@pytest.mark.parametrize(
    ("command", "printed", "warns"),
    [
        ("node", "v20.20.2", True),
        ("npx", "v20.20.2", True),
        ("node", "v24.5.0", False),
        ("node", "", False),
        ("python", "v20.20.2", False),
    ],
)
def test_command_with_an_old_node_is_warned_about(
    tmp_path: Path, command: str, printed: str, warns: bool
) -> None:
    node = tmp_path / "node"
    node.write_text(f"#!/bin/sh\necho {printed}\n")
    node.chmod(0o755)
    words = [str(node) if command == "node" else command, "app.js"]
    warning = find_proxy_warning(words, {"PATH": str(tmp_path)})
    assert bool(warning) is warns
    if warns:
        assert f"Node {printed} ignore HTTPS_PROXY" in warning


def test_missing_node_is_not_warned_about(tmp_path: Path) -> None:
    assert find_proxy_warning([str(tmp_path / "node")], {"PATH": ""}) == ""


def test_program_takes_only_variables_of_an_identity_from_the_pod() -> None:
    """Another webhook may inject anything, and the program runs with the rights of the user."""
    pod = build_pod(Account(namespace="default", name="web"))
    (container,) = pod["spec"]["containers"]
    container["env"] = [
        {"name": names.ENV_CLIENT_ID, "value": "11111111-2222-4333-8444-555555555555"},
        {"name": "LD_PRELOAD", "value": "/tmp/evil.so"},
        {"name": "PATH", "value": "/tmp"},
        {"name": "HTTPS_PROXY", "value": "http://proxy.example"},
    ]
    token = {"audience": "api://AzureADTokenExchange", "expirationSeconds": 3600, "path": "token"}
    pod["spec"]["volumes"] = [
        {
            "name": f"{names.VOLUME_PREFIX}token",
            "projected": {"sources": [{"serviceAccountToken": token}]},
        }
    ]
    found = parse_injection(pod)
    assert found.variables == {names.ENV_CLIENT_ID: "11111111-2222-4333-8444-555555555555"}
    assert (found.audience, found.seconds) == ("api://AzureADTokenExchange", 3600)
