"""Search for the programs of a control plane, and the errors when they are missing."""

from pathlib import Path

import pytest

from podpass.lab.cluster.control_plane.programs import NoControlPlane, find
from tests.lab.instance.instances import Podpass

pytestmark = pytest.mark.processes


def _create_programs(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return folder


def test_envtest_folder_is_searched_before_the_path(tmp_path: Path) -> None:
    assets = _create_programs(tmp_path / "assets", "etcd", "kube-apiserver")
    path = _create_programs(tmp_path / "path", "etcd", "kube-apiserver")
    found = find({"KUBEBUILDER_ASSETS": str(assets), "PATH": str(path)})
    assert (found.etcd, found.api_server) == (assets / "etcd", assets / "kube-apiserver")


def test_program_missing_in_the_envtest_folder_is_taken_from_the_path(tmp_path: Path) -> None:
    assets = _create_programs(tmp_path / "assets", "kube-apiserver")
    path = _create_programs(tmp_path / "path", "etcd")
    found = find({"KUBEBUILDER_ASSETS": str(assets), "PATH": str(path)})
    assert found.etcd == path / "etcd"


def test_controllers_are_taken_only_from_the_folder_of_the_api_server(tmp_path: Path) -> None:
    """Controllers must not be newer than the API server."""
    assets = _create_programs(tmp_path / "assets", "etcd", "kube-apiserver")
    path = _create_programs(tmp_path / "path", "kube-controller-manager")
    environ = {"KUBEBUILDER_ASSETS": str(assets), "PATH": str(path)}
    assert find(environ).controllers is None
    controllers = assets / "kube-controller-manager"
    controllers.write_text("#!/bin/sh\n")
    controllers.chmod(0o755)
    assert find(environ).controllers == controllers


def test_missing_programs_are_reported_with_the_searched_locations(tmp_path: Path) -> None:
    path = _create_programs(tmp_path / "path", "etcd")
    with pytest.raises(NoControlPlane) as refused:
        find({"PATH": str(path)})
    assert (
        "kube-apiserver not found in KUBEBUILDER_ASSETS, which is not set" in refused.value.message
    )
    assert "etcd" not in refused.value.message
    assert "KUBEBUILDER_ASSETS" in refused.value.hint
    with pytest.raises(NoControlPlane) as refused:
        find({"PATH": "", "KUBEBUILDER_ASSETS": str(tmp_path / "none")})
    assert "etcd and kube-apiserver not found" in refused.value.message
    assert str(tmp_path / "none") in refused.value.message


@pytest.mark.parametrize("detach", [True, False], ids=["detached", "foreground"])
def test_instance_without_control_plane_programs_fails_with_an_error(
    podpass: Podpass, detach: bool
) -> None:
    chosen = ("--kubernetes", "kube-apiserver", "--port-base", "0", *(["--detach"] * detach))
    done = podpass("up", *chosen, env={"PATH": "/nonexistent", "KUBEBUILDER_ASSETS": ""})
    assert done.returncode == 1
    assert "etcd and kube-apiserver not found in" in done.stderr
    assert "--kubernetes embedded" in done.stderr
    assert podpass("status").returncode == 1


def test_unknown_kubernetes_kind_is_refused(podpass: Podpass) -> None:
    done = podpass("up", "--kubernetes", "k3s", "--port-base", "0", "--detach")
    assert done.returncode != 0
    assert "--kubernetes k3s: must be embedded or kube-apiserver" in done.stderr
