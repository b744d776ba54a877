"""The Secret that keeps the identity of a cloud: filled by the first pod, read by the next one."""

from pathlib import Path

import pytest

from podpass.clock import system
from podpass.database import Database
from podpass.exchange.signing.key_set import AuthorityKeys
from podpass.kubernetes.client import KubeClient
from podpass.lab.data import ca
from podpass.lab.data.datadir import DataDir, initialise, prepare
from podpass.lab.instance.identity_secret import (
    DamagedCopy,
    IdentitySecret,
    IdentitySecretError,
    copy_in,
    copy_out,
)
from tests.kubeling.cluster import Live

PATH = "/api/v1/namespaces/default/secrets"


@pytest.fixture
async def secret(admin: KubeClient) -> IdentitySecret:
    await admin.create(PATH, {"metadata": {"name": "identity"}})
    return IdentitySecret(admin, "default", "identity")


def make(folder: Path) -> DataDir:
    """Make a data directory with all files of an identity."""
    data_dir = DataDir(folder)
    prepare(data_dir)
    initialise(data_dir)
    ca.ensure_certificates(data_dir, system)
    for name in ("authority", "vault"):
        data_dir.path("keys", f"{name}.key").write_bytes(name.encode() * 4)
    return data_dir


async def test_next_pod_has_the_identity_of_the_first(
    secret: IdentitySecret, tmp_path: Path
) -> None:
    first, second = make(tmp_path / "first"), DataDir(tmp_path / "second")
    assert await secret.restore(first) == b""
    assert await secret.store(first, b"sealed")
    assert not await secret.store(first, b"sealed")
    prepare(second)
    assert await secret.restore(second) == b"sealed"
    assert second.path("instance.json").read_bytes() == first.path("instance.json").read_bytes()
    for parts in (("ca", "ca.pem"), ("ca", "ca.key"), ("keys", "vault.key")):
        assert second.path(*parts).read_bytes() == first.path(*parts).read_bytes()
        assert second.path(*parts).stat().st_mode & 0o077 == 0
    initialise(second)
    ca.ensure_certificates(second, system)
    assert second.ca_file.read_bytes() == first.ca_file.read_bytes()


async def test_volume_of_another_tenant_is_refused(secret: IdentitySecret, tmp_path: Path) -> None:
    first, other = make(tmp_path / "first"), make(tmp_path / "other")
    await secret.store(first, b"")
    other.path("directory.db").touch()
    before = other.path("instance.json").read_bytes()
    with pytest.raises(IdentitySecretError, match="the volume has the data of tenant"):
        await secret.restore(other)
    assert other.path("instance.json").read_bytes() == before


async def test_incomplete_secret_is_refused_by_key(
    secret: IdentitySecret, admin: KubeClient, tmp_path: Path
) -> None:
    data_dir = make(tmp_path / "first")
    await secret.store(data_dir, b"")
    found = await admin.get(f"{PATH}/identity")
    del found["data"]["ca.key"]
    await admin.replace(f"{PATH}/identity", found)
    with pytest.raises(IdentitySecretError, match=r"has no ca\.key"):
        await secret.restore(data_dir)


async def test_missing_secret_names_the_command_that_creates_it(
    admin: KubeClient, tmp_path: Path
) -> None:
    with pytest.raises(IdentitySecretError) as caught:
        await IdentitySecret(admin, "default", "absent").restore(DataDir(tmp_path))
    assert caught.value.hint is not None
    assert "podpass cloud install" in caught.value.hint


async def test_missing_right_is_named(live: Live, tmp_path: Path) -> None:
    async with KubeClient.from_kubeconfig(live.kubeconfig("alice-token")) as alice:
        with pytest.raises(IdentitySecretError) as caught:
            await IdentitySecret(alice, "default", "identity").restore(DataDir(tmp_path))
    assert caught.value.hint is not None
    assert "`get` and `update`" in caught.value.hint


def database(folder: Path, name: str) -> Database:
    return Database(f"sqlite:///{folder / name}")


async def test_keys_of_a_copy_are_those_of_the_first_database(tmp_path: Path) -> None:
    sealing = tmp_path / "authority.key"
    async with database(tmp_path, "first.db") as first:
        keys = await AuthorityKeys.open(first, sealing)
        copy = await copy_out(first)
    assert b"PRIVATE KEY" not in copy
    async with database(tmp_path, "second.db") as second:
        assert await copy_in(second, copy)
        assert not await copy_in(second, copy)
        again = await AuthorityKeys.open(second, sealing)
        assert again.active.kid == keys.active.kid
        assert [each.kid for each in again.published] == [each.kid for each in keys.published]
        assert await copy_out(second) == copy


@pytest.mark.parametrize(
    "copy",
    [b"", b"[]", b"{}", b'{"authority_keys": [{}], "authority_seals": []}'],
    ids=["empty", "list", "no-tables", "no-value"],
)
async def test_damaged_copy_is_refused(tmp_path: Path, copy: bytes) -> None:
    async with database(tmp_path, "new.db") as new:
        with pytest.raises(DamagedCopy):
            await copy_in(new, copy)
