"""The warning about a Node that ignores proxy variables."""

from pathlib import Path

import pytest

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
