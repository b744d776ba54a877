"""What `podpass up` and `podpass status` say about the mounts and the network of pods."""

from pathlib import Path

import pytest

from podpass.cli.pod_limits import describe_pods, mount_warning


def status(sandbox: str, network: str = "pod-addresses") -> dict[str, str]:
    return {"sandbox": sandbox, "pod_network": network}


@pytest.mark.parametrize("manager", ["apt-get", "dnf", "apk", "pacman", "zypper"])
def test_warning_about_missing_mounts_names_the_command_that_installs_bubblewrap(
    tmp_path: Path, manager: str
) -> None:
    (tmp_path / manager).touch(mode=0o755)
    text = " ".join(mount_warning(status("rewrite"), str(tmp_path)))
    assert "volumes are not mounted here" in text
    assert f"`{manager} " in text
    assert " bubblewrap`" in text


def test_package_is_named_if_there_is_no_known_package_manager(tmp_path: Path) -> None:
    assert "the package bubblewrap" in " ".join(mount_warning(status("rewrite"), str(tmp_path)))


@pytest.mark.parametrize("sandbox", ["bubblewrap", "namespaces"])
def test_working_mounts_need_no_warning(sandbox: str) -> None:
    assert mount_warning(status(sandbox), "/usr/bin") == []


def test_rows_name_the_sandbox_and_the_network() -> None:
    rows = dict(describe_pods(status("namespaces", "node-address")))
    assert "mount namespaces" in rows["containers"]
    assert "all pods share 127.0.0.1" in rows["pod network"]
    assert "its own loopback address" in dict(describe_pods(status("rewrite")))["pod network"]
