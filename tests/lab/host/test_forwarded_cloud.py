"""The files of the programs of this machine that use a cloud in a cluster: one private folder per context."""

import asyncio
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import trustme

from podpass.kubernetes.client import KubeClient, Target
from podpass.lab.data.datadir import DataDir
from podpass.lab.data.environment import client_environment
from podpass.lab.data.lock import Lock
from podpass.lab.host import forwarded_cloud
from podpass.lab.host.forwarded_cloud import CloudTarget, FolderNotPrivate, ForwarderFailed

_TENANT = "11111111-2222-4333-8444-555555555555"
_OTHER = "22222222-2222-4333-8444-555555555555"


def target(**changed: Any) -> CloudTarget:
    values = {
        "context": "kind-kind",
        "kubeconfig": Path("/home/user/.kube/config"),
        "server": "https://127.0.0.1:6443",
        "namespace": "n",
    }
    found = {"open_client": lambda: KubeClient(Target(server="https://127.0.0.1:6443"))}
    return CloudTarget(**{**values, **found, **changed})


def facts(tenant: str = _TENANT, ca: str = "", token: str = "first") -> dict[str, Any]:
    """Return what the cloud's pod answers."""
    account = {
        "tenant_id": tenant,
        "tenant_name": "podpass",
        "user_id": "33333333-2222-4333-8444-555555555555",
        "user_name": "admin@podpass.onmicrosoft.com",
        "subscription_id": "44444444-2222-4333-8444-555555555555",
        "subscription_name": "podpass",
    }
    return {
        "tenant_id": tenant,
        "ca": ca or trustme.CA().cert_pem.bytes().decode(),
        "account": account,
        "refresh_token": token,
        "published_keys": ["key-1", "key-2"],
    }


def refresh_token(folder: Path) -> str:
    cache = json.loads((folder / "azure" / "msal_token_cache.json").read_text())
    [token] = cache["RefreshToken"].values()
    return str(token["secret"])


@pytest.mark.parametrize(
    "changed",
    [{"context": "other"}, {"kubeconfig": Path("/other")}, {"namespace": "m"}],
    ids=["context", "kubeconfig", "namespace"],
)
def test_each_installation_has_its_own_folder(tmp_path: Path, changed: dict[str, Any]) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    found = forwarded_cloud.locate(target(), environ)
    assert forwarded_cloud.locate(target(), environ) == found
    assert forwarded_cloud.locate(target(**changed), environ) != found
    assert found.root.parent == tmp_path / "podpass-cloud"


def test_cluster_that_is_created_again_has_the_same_folder(tmp_path: Path) -> None:
    """`kind create cluster` chooses another port: a running background process must still be found."""
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    again = target(server="https://127.0.0.1:7443")
    assert forwarded_cloud.locate(again, environ) == forwarded_cloud.locate(target(), environ)


def write_kubeconfig(path: Path, context: str) -> CloudTarget:
    """Write a kubeconfig with one context; return the installation of the context `kind-kind`."""
    config = {
        "contexts": [{"name": context, "context": {"cluster": "one", "user": "one"}}],
        "clusters": [{"name": "one", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "one", "user": {}}],
    }
    path.write_text(json.dumps(config))
    return target(
        kubeconfig=path, open_client=lambda: KubeClient.from_kubeconfig(path, "kind-kind")
    )


@pytest.mark.parametrize("damage", ["{", ""], ids=["incomplete", "empty"])
async def test_forwarding_ends_when_the_context_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    """`kind delete cluster` removes the context. An incomplete kubeconfig does not end the process."""
    polls = 0

    async def poll(_: float) -> None:
        nonlocal polls
        polls += 1
        if polls == 5:
            path.write_text(damage)
        elif polls == 6:
            write_kubeconfig(path, "kind-kind")
        elif polls == 10:
            write_kubeconfig(path, "kind-other")

    path = tmp_path / "config"
    found = write_kubeconfig(path, "kind-kind")
    monkeypatch.setattr(asyncio, "sleep", poll)
    ready: list[bool] = []
    with socket.create_server(("127.0.0.1", 0)) as sock:
        await forwarded_cloud.forward_until_removed(found, sock, lambda: ready.append(True))
    assert (ready, polls) == ([True], 12)


def test_background_process_that_cannot_start_is_reported(tmp_path: Path) -> None:
    """A credential plugin that needs a terminal causes this failure."""
    found = write_kubeconfig(tmp_path / "config", "kind-other")
    data_dir = DataDir(tmp_path / "cloud")
    with (
        forwarded_cloud.exclusive(data_dir),
        pytest.raises(ForwarderFailed, match="the background process that forwards has exited"),
    ):
        forwarded_cloud.start_background(data_dir, found)


def test_name_of_a_context_is_never_a_path(tmp_path: Path) -> None:
    for context in ("../../etc", "arn:aws:eks:x:cluster/a", "..", ""):
        found = forwarded_cloud.locate(target(context=context), {"XDG_STATE_HOME": str(tmp_path)})
        assert found.root.parent == tmp_path / "podpass-cloud"


def test_files_are_private_and_trust_the_cloud(tmp_path: Path) -> None:
    data_dir, given = DataDir(tmp_path / "cloud"), facts()
    forwarded_cloud.write_files(data_dir, given, {})
    assert data_dir.ca_file.read_text() == given["ca"]
    assert given["ca"].strip() in data_dir.bundle.read_text()
    assert data_dir.root.stat().st_mode & 0o077 == 0
    assert refresh_token(data_dir.root) == "first"


def test_new_token_replaces_the_earlier_one(tmp_path: Path) -> None:
    """After a reset of the cloud, earlier tokens are refused."""
    data_dir, given = DataDir(tmp_path / "cloud"), facts()
    forwarded_cloud.write_files(data_dir, given, {})
    forwarded_cloud.write_files(data_dir, {**given, "refresh_token": "second"}, {})
    assert refresh_token(data_dir.root) == "second"


@pytest.mark.parametrize(
    ("keys", "left"),
    [(["key-2", "key-3"], True), (["key-3", "key-4"], False)],
    ids=["rotated", "reset"],
)
def test_access_tokens_from_before_a_reset_are_removed(
    tmp_path: Path, keys: list[str], left: bool
) -> None:
    """A rotation keeps a published key, a reset replaces all of them."""
    data_dir, given = DataDir(tmp_path / "cloud"), facts()
    forwarded_cloud.write_files(data_dir, given, {})
    path = data_dir.root / "azure" / "msal_token_cache.json"
    cache = {**json.loads(path.read_text()), "AccessToken": {"one": {"secret": "x"}}}
    path.write_text(json.dumps(cache))
    forwarded_cloud.write_files(data_dir, {**given, "published_keys": keys}, {})
    assert ("AccessToken" in json.loads(path.read_text())) is left


def test_sign_in_of_an_earlier_installation_is_removed(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path / "cloud")
    forwarded_cloud.write_files(data_dir, facts(), {})
    forwarded_cloud.write_files(data_dir, facts(_OTHER, token="second"), {})
    profile = json.loads((data_dir.root / "azure" / "azureProfile.json").read_text())
    assert [each["tenantId"] for each in profile["subscriptions"]] == [_OTHER]


def test_user_who_signed_out_stays_signed_out(tmp_path: Path) -> None:
    data_dir, given = DataDir(tmp_path / "cloud"), facts()
    forwarded_cloud.write_files(data_dir, given, {})
    profile = data_dir.root / "azure" / "azureProfile.json"
    profile.write_text('{"subscriptions": []}')
    forwarded_cloud.write_files(data_dir, given, {})
    assert profile.read_text() == '{"subscriptions": []}'


def test_ca_of_another_cloud_in_the_environment_is_not_trusted(tmp_path: Path) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    first, second = facts(), facts()
    other = forwarded_cloud.locate(target(context="other"), environ)
    forwarded_cloud.write_files(other, first, environ)
    data_dir = forwarded_cloud.locate(target(), environ)
    shell = {**environ, **client_environment(other, 4242, {})}
    forwarded_cloud.write_files(data_dir, second, shell)
    assert second["ca"].strip() in data_dir.bundle.read_text()
    assert first["ca"].strip() not in data_dir.bundle.read_text()


def test_without_a_background_process_stop_does_nothing(tmp_path: Path) -> None:
    assert not forwarded_cloud.stop_background(DataDir(tmp_path))


@pytest.mark.parametrize("text", ["", "x", "70000", "9" * 5000, "-1"])
def test_port_file_that_is_damaged_is_not_used(tmp_path: Path, text: str) -> None:
    """A full disk truncates it."""
    data_dir = DataDir(tmp_path)
    data_dir.path("port").write_text(text)
    lock = Lock(data_dir.lock_file)
    assert lock.acquire()
    with pytest.raises(ForwarderFailed, match="does not respond on port 0") as refused:
        forwarded_cloud.start_background(data_dir, target())
    assert refused.value.hint == f"end it: kill -KILL {os.getpid()}, then try again"
    lock.release()


def test_background_process_that_is_stopped_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarded_cloud, "_RESPONSE_SECONDS", 0.1)
    data_dir, lock = DataDir(tmp_path), Lock(DataDir(tmp_path).lock_file)
    assert lock.acquire()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        data_dir.path("port").write_text(str(port))
        with pytest.raises(ForwarderFailed, match=f"does not respond on port {port}"):
            forwarded_cloud.start_background(data_dir, target())
    lock.release()


@pytest.mark.parametrize("folder", ["podpass-cloud", "podpass-cloud/kind"])
def test_folder_that_other_users_may_write_to_is_refused(tmp_path: Path, folder: str) -> None:
    """They could have put a CA into it."""
    data_dir = DataDir(tmp_path / "podpass-cloud" / "kind")
    data_dir.root.mkdir(parents=True, mode=0o700)
    (tmp_path / folder).chmod(0o777)
    with pytest.raises(FolderNotPrivate, match="other users may write to it"):
        forwarded_cloud.write_files(data_dir, facts(), {})
    assert not data_dir.ca_file.exists()


def test_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with (
        pytest.raises(FolderNotPrivate, match="belongs to another user"),
        forwarded_cloud.exclusive(DataDir(tmp_path / "cloud")),
    ):
        pass
