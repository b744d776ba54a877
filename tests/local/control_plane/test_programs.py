"""Where the programs of a control plane are looked for, and what is said when they are not there."""

from pathlib import Path

import pytest

from podpass.local.control_plane.programs import NoControlPlane, find
from tests.local.instances import Podpass


def _put(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return folder


def test_the_folder_of_envtest_comes_before_the_path(tmp_path: Path) -> None:
    assets = _put(tmp_path / "assets", "etcd", "kube-apiserver")
    path = _put(tmp_path / "path", "etcd", "kube-apiserver")
    found = find({"KUBEBUILDER_ASSETS": str(assets), "PATH": str(path)})
    assert (found.etcd, found.api_server) == (assets / "etcd", assets / "kube-apiserver")


def test_what_the_folder_lacks_comes_from_the_path(tmp_path: Path) -> None:
    assets = _put(tmp_path / "assets", "kube-apiserver")
    path = _put(tmp_path / "path", "etcd")
    found = find({"KUBEBUILDER_ASSETS": str(assets), "PATH": str(path)})
    assert found.etcd == path / "etcd"


def test_controllers_are_those_beside_the_api_server_and_no_others(tmp_path: Path) -> None:
    """Controllers of another release may be newer than the server, which they must not be."""
    assets = _put(tmp_path / "assets", "etcd", "kube-apiserver")
    path = _put(tmp_path / "path", "kube-controller-manager")
    environ = {"KUBEBUILDER_ASSETS": str(assets), "PATH": str(path)}
    assert find(environ).controllers is None
    beside = assets / "kube-controller-manager"
    beside.write_text("#!/bin/sh\n")
    beside.chmod(0o755)
    assert find(environ).controllers == beside


def test_what_is_missing_is_named_with_where_it_was_looked_for(tmp_path: Path) -> None:
    path = _put(tmp_path / "path", "etcd")
    with pytest.raises(NoControlPlane) as refused:
        find({"PATH": str(path)})
    assert "no kube-apiserver in KUBEBUILDER_ASSETS, which is not set" in refused.value.message
    assert "etcd" not in refused.value.message
    assert "KUBEBUILDER_ASSETS" in refused.value.hint
    with pytest.raises(NoControlPlane) as refused:
        find({"PATH": "", "KUBEBUILDER_ASSETS": str(tmp_path / "none")})
    assert "no etcd and no kube-apiserver" in refused.value.message
    assert str(tmp_path / "none") in refused.value.message


@pytest.mark.parametrize("detach", [True, False], ids=["detached", "foreground"])
def test_an_instance_that_cannot_have_one_says_so_and_stops(podpass: Podpass, detach: bool) -> None:
    chosen = ("--kubernetes", "kube-apiserver", "--port-base", "0", *(["--detach"] * detach))
    done = podpass("up", *chosen, env={"PATH": "/nonexistent", "KUBEBUILDER_ASSETS": ""})
    assert done.returncode == 1
    assert "there is no etcd and no kube-apiserver" in done.stderr
    assert "--kubernetes embedded" in done.stderr
    assert podpass("status").returncode == 1


def test_a_kind_that_is_neither_is_refused(podpass: Podpass) -> None:
    done = podpass("up", "--kubernetes", "k3s", "--port-base", "0", "--detach")
    assert done.returncode != 0
    assert "--kubernetes k3s: want embedded or kube-apiserver" in done.stderr
