"""The settings given on the command line or in the environment."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from podpass.cli import up
from podpass.cli.client import NotResponding
from podpass.cli.status import _storage_rows, status_rows
from podpass.errors import SettingsError
from podpass.lab.data.datadir import DataDir, write_version
from podpass.lab.data.lock import Lock
from podpass.lab.instance.harness import Harness
from podpass.settings import CloudSettings, LocalSettings
from podpass.settings.fields import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class More(LocalSettings):
    """Settings with one more field, which has no option on the command line."""

    added: int = setting("a number", flag="--added", variable="PODPASS_ADDED", default=1)


@pytest.mark.parametrize("name", ["sni_name", "ca_configmap"])
def test_setting_of_the_custom_endpoint_needs_the_endpoint(name: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {name: "any"}
    with pytest.raises(SettingsError, match=r"needs --custom-token-endpoint$"):
        LocalSettings(data_dir=tmp_path, **given)


def test_only_explicitly_given_settings_are_returned_with_their_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PODPASS_KUBERNETES", "embedded")
    arguments = ["--data-dir", str(tmp_path), "--port-base", "0"]
    with up.command.make_context("up", arguments) as ctx:
        settings = More(data_dir=tmp_path, port_base=0)
        assert up._chosen_settings(ctx, settings) == {"--port-base": 0, "--kubernetes": "embedded"}


def test_address_of_an_instance_in_a_container_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    addresses = dict.fromkeys(("gateway", "authority", "vault"), "https://127.0.0.1:1")
    status: dict[str, Any] = {
        **addresses,
        "kubernetes": {"server": "https://127.0.0.1:2"},
        "sandbox": "bubblewrap",
        "settings": {"--listen": "0.0.0.0"},
    }
    up._print_ready(DataDir(Path("/data")), status, "text", "http://127.0.0.1:3/open/x")
    assert "control API listen on 0.0.0.0" in capsys.readouterr().err
    status["settings"] = {}  # an instance of an earlier release
    up._print_ready(DataDir(Path("/data")), status, "text", "http://127.0.0.1:3/open/x")
    assert "listen on" not in capsys.readouterr().err


def test_status_names_the_storage_of_an_instance_with_azurite() -> None:
    azurite = "http://127.0.0.1:10000"
    [row] = _storage_rows({"settings": {"--azurite": azurite}})
    assert row == [
        "storage",
        f"https://NAME.blob.core.windows.net through the gateway (data: {azurite})",
    ]
    assert _storage_rows({"settings": {}}) == []


def test_status_of_the_cloud_half_alone_names_what_containers_use(tmp_path: Path) -> None:
    settings = CloudSettings(
        data_dir=tmp_path,
        listen=":443",
        dns_listen=":53",
        azurite="http://azurite:10000",
        trust_dir="/trust",
    )
    status = {
        "kubernetes": {"kind": "external"},
        "listens": settings.listens,
        "tenant_id": "t",
        "subscription_id": "s",
        "issuers": ["https://a.example", "https://b.example"],
        "pipelines": ["github"],
        "ca_file": "/data/ca/ca.pem",
        "pids": {"podpass": 7},
    }
    assert status_rows(status) == [
        *(["azure", ":443"], ["resolver", ":53"], ["azurite", "http://azurite:10000"]),
        *(["trust", "/trust"], ["tenant", "t"], ["subscription", "s"]),
        ["outside issuers", "https://a.example, https://b.example"],
        ["pipelines", "github"],
        *(["ca_file", "/data/ca/ca.pem"], ["process", "7"]),
    ]


def test_instance_for_tests_has_users_or_runs_until_it_is_stopped(tmp_path: Path) -> None:
    assert up._create_harness(None) is None
    stopped: list[str] = []
    alone = up._create_harness(Path("-"))
    assert alone is not None
    alone.watch_users(lambda: stopped.append("stopped"))  # needs no event loop: it watches nothing
    with pytest.raises(RuntimeError, match="no running event loop"):
        Harness(tmp_path / "users.lock").watch_users(lambda: None)
    assert stopped == []


class EndingInstance:
    """A process that holds the lock of a data directory, has the status ready, and serves nothing."""

    def __init__(self, folder: Path, *, checks_before_the_end: int) -> None:
        self.data_dir, self.lock = DataDir(folder), Lock(DataDir(folder).lock_file)
        self._left = checks_before_the_end
        assert self.lock.acquire()
        write_version(self.data_dir)
        status = {"pids": {"podpass": os.getpid()}}
        self.data_dir.status_file.write_text(json.dumps(status))

    def check_health(self, _: DataDir, __: int) -> None:
        """Refuse, as a closed port does; after some checks the process has ended."""
        self._left -= 1
        if self._left == 0:
            self.lock.release()
        raise NotResponding("closed")


def test_start_waits_for_an_instance_that_is_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending = EndingInstance(tmp_path, checks_before_the_end=3)
    monkeypatch.setattr(up, "check_health", ending.check_health)
    assert up._find_running(ending.data_dir) is None


def test_instance_that_neither_responds_nor_ends_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = EndingInstance(tmp_path, checks_before_the_end=-1)
    monkeypatch.setattr(up, "check_health", stuck.check_health)
    monkeypatch.setattr(up, "_ENDING_SECONDS", 0.0)
    with pytest.raises(NotResponding):
        up._find_running(stuck.data_dir)
    stuck.lock.release()
