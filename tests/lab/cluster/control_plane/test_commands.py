"""The command lines of a control plane, above all the flags that restrict access."""

from pathlib import Path

import pytest

from podpass.lab.cluster.control_plane import commands
from podpass.lab.cluster.control_plane.commands import Layout
from podpass.lab.cluster.control_plane.programs import Programs
from podpass.lab.data import ca
from podpass.lab.data.datadir import DataDir

ISSUER = "https://oidc.example/issuer/"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return _layout(tmp_path, tmp_path / "kube-controller-manager")


def _layout(folder: Path, controllers: Path | None) -> Layout:
    return Layout(
        programs=Programs(
            etcd=folder / "etcd", api_server=folder / "kube-apiserver", controllers=controllers
        ),
        data_dir=DataDir(folder),
        issuer=ISSUER,
        port=6443,
        etcd_ports=(2379, 2380),
        keys=[folder / "000001.pem", folder / "000002.pem"],
        api_server_args=["--v=3"],
    )


def _flags(command: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for flag in command[1:]:
        name, _, value = flag.partition("=")
        found.setdefault(name.removeprefix("--"), []).append(value)
    return found


def test_etcd_listens_on_loopback_and_requires_client_certificates(layout: Layout) -> None:
    flags = _flags(commands.etcd(layout))
    assert flags["listen-client-urls"] == ["https://127.0.0.1:2379"]
    assert flags["listen-peer-urls"] == ["https://127.0.0.1:2380"]
    for side in ("", "peer-"):
        assert flags[f"{side}client-cert-auth"] == ["true"]
        assert flags[f"{side}trusted-ca-file"] == [str(layout.data_dir.ca_file)]


def test_etcd_accepts_only_the_api_server(layout: Layout) -> None:
    flags = _flags(commands.etcd(layout))
    assert flags["client-cert-allowed-hostname"] == [ca.ETCD_CLIENT_NAME]
    assert flags["peer-cert-allowed-hostname"] == ["nobody"]


def test_etcd_has_no_insecure_flag(layout: Layout) -> None:
    assert not [flag for flag in _flags(commands.etcd(layout)) if flag.startswith("unsafe")]


def test_api_server_listens_on_loopback_and_uses_rbac(layout: Layout) -> None:
    flags = _flags(commands.api_server(layout))
    assert (flags["bind-address"], flags["secure-port"]) == (["127.0.0.1"], ["6443"])
    assert flags["authorization-mode"] == ["RBAC"]
    assert flags["client-ca-file"] == [str(layout.data_dir.ca_file)]


def test_last_key_of_the_issuer_signs_and_every_key_verifies(layout: Layout) -> None:
    flags = _flags(commands.api_server(layout))
    assert flags["service-account-issuer"] == [ISSUER]
    assert flags["service-account-jwks-uri"] == ["https://oidc.example/issuer/openid/v1/jwks"]
    assert flags["service-account-signing-key-file"] == [str(layout.keys[-1])]
    assert flags["service-account-key-file"] == [str(key) for key in layout.keys]


def test_service_accounts_are_required_only_with_controllers(
    layout: Layout, tmp_path: Path
) -> None:
    assert "disable-admission-plugins" not in _flags(commands.api_server(layout))
    without = _flags(commands.api_server(_layout(tmp_path, None)))
    assert without["disable-admission-plugins"] == ["ServiceAccount"]


def test_extra_flags_come_last_and_override(layout: Layout) -> None:
    assert commands.api_server(layout)[-1] == "--v=3"


def test_controllers_listen_on_no_port_and_use_separate_accounts(layout: Layout) -> None:
    flags = _flags(commands.controllers(layout))
    assert flags["secure-port"] == ["0"]
    assert flags["use-service-account-credentials"] == ["true"]
