"""`podpass backup` and `podpass restore` on a local instance, running or not, as its owner uses them."""

import json
import os
import shutil
import sqlite3
import stat
import tarfile
import tracemalloc
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from podpass.backup import archive
from podpass.backup.model import Manifest
from podpass.cli.backup_summary import format_size
from podpass.exchange.sign_in import passwords
from podpass.lab.backup import restore
from podpass.lab.data import finish_restore
from podpass.lab.data.datadir import DataDir
from tests.lab.instance.instances import SEED, Podpass

pytestmark = pytest.mark.processes

MORE = """
identities:
  - name: later
"""


@pytest.fixture(scope="module")
def stopped_instance(make_podpass: Callable[[], Podpass]) -> Podpass:
    """Provide a stopped instance with a vault; each test uses a copy of its folder."""
    made = make_podpass()
    seed = made.data_dir.parent / "seed.yaml"
    seed.write_text(SEED)
    made.up("--seed", str(seed))
    assert made("backup", str(made.data_dir.parent / "open"), "--with-keys").returncode == 0
    assert made("backup", str(made.data_dir.parent / "sealed")).returncode == 0
    made("down")
    return made


@pytest.fixture
def instance(stopped_instance: Podpass, podpass: Podpass) -> Podpass:
    shutil.copytree(stopped_instance.data_dir, podpass.data_dir)
    return podpass


def test_backup_names_its_file_and_size_and_what_it_does_not_contain(instance: Podpass) -> None:
    folder = instance.data_dir.parent
    left_out = (
        "not saved: the instance's keys and its Kubernetes objects; to save them, pass --with-keys"
    )
    for name, options in (("plain", ()), ("complete", ("--with-keys",))):
        done = instance("backup", name, *options, cwd=folder)
        path = folder / name
        assert f"wrote {path}, {path.stat().st_size / 1024:.1f} KiB\n" in done.stderr
        assert (left_out in done.stderr) is (name == "plain")
    checked = instance("backup", "--check", "plain", cwd=folder)
    assert "wrote" not in checked.stderr


def test_size_is_formatted_with_the_largest_unit() -> None:
    sizes = {0: "0 bytes", 1023: "1023 bytes", 1024: "1.0 KiB", 5 * 2**20: "5.0 MiB"}
    assert {count: format_size(count) for count in sizes} == sizes
    assert format_size(3 * 2**40) == "3.0 TiB"


def list_identity_names(podpass: Podpass) -> list[str]:
    found = json.loads(podpass("identity", "list", "-o", "json").stdout)
    return sorted(one["name"] for one in found)


def read_ids(podpass: Podpass) -> tuple[str, str]:
    facts = json.loads((podpass.data_dir / "instance.json").read_bytes())
    return facts["tenant_id"], facts["issuer_id"]


def count_rows(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def apply(podpass: Podpass, text: str) -> None:
    assert podpass("apply", "-f", "-", input=text).returncode == 0


def test_running_instance_is_backed_up_and_uses_the_restored_data(instance: Podpass) -> None:
    instance.up()
    path = instance.data_dir.parent / "backup"
    done = instance("backup", str(path), "-o", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"]["secrets"] == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    apply(instance, MORE)
    assert list_identity_names(instance) == ["later", "web"]
    done = instance("restore", "--trust", str(path))
    assert (done.returncode, done.stdout) == (1, "")
    assert "not empty" in done.stderr
    assert "--replace" in done.stderr
    assert instance("restore", "--trust", str(path), "--replace").returncode == 0
    # Immediately, without a restart.
    assert list_identity_names(instance) == ["web"]
    assert instance("vault", "list", "-o", "json").stdout.count("tools-vault") >= 1


def test_restore_keeps_keys_and_files_of_a_running_instance(
    instance: Podpass, stopped_instance: Podpass
) -> None:
    instance.up()
    done = instance(
        "restore", "--trust", str(stopped_instance.data_dir.parent / "open"), "--replace"
    )
    assert done.returncode == 0, done.stderr
    assert "not restored, because the instance is running" in done.stderr
    assert "kubernetes.db" in done.stderr


def test_backup_of_another_instance_is_refused_while_this_one_runs(
    podpass: Podpass, stopped_instance: Podpass
) -> None:
    podpass.up()
    done = podpass(
        "restore", "--trust", str(stopped_instance.data_dir.parent / "open"), "--replace"
    )
    assert done.returncode == 1
    assert "of another instance" in done.stderr
    assert "podpass down" in done.stderr


def test_backup_with_another_key_than_the_running_instance_is_refused(
    instance: Podpass, stopped_instance: Podpass, tmp_path: Path
) -> None:
    """The running instance could not open the restored secrets."""
    manifest = archive.check(stopped_instance.data_dir.parent / "open")
    key = {"files/keys/vault.key/000001": b"x" * 32}
    crafted = _write_backup(tmp_path, stopped_instance, manifest, backup="open", changed=key)
    instance.up()
    done = instance("restore", "--trust", str(crafted), "--replace")
    assert done.returncode == 1
    assert "another keys/vault.key than the running instance" in done.stderr
    assert "podpass down" in done.stderr


def test_stopped_instance_is_restored_and_starts_with_the_restored_data(
    instance: Podpass, stopped_instance: Podpass
) -> None:
    instance.up()
    apply(instance, MORE)
    instance("down")
    path = str(stopped_instance.data_dir.parent / "sealed")
    assert "already holds an instance" in instance("restore", "--trust", path).stderr
    assert instance("restore", "--trust", path, "--replace").returncode == 0
    instance.up()
    assert list_identity_names(instance) == ["web"]


def test_backup_with_keys_restores_a_complete_instance_in_a_new_directory(
    podpass: Podpass, stopped_instance: Podpass
) -> None:
    path = str(stopped_instance.data_dir.parent / "open")
    done = podpass("restore", path)
    assert done.returncode == 1
    parts = "kubernetes.db, instance.json, keys, role assignments"
    assert f"the backup contains {parts}: its author could" in done.stderr
    assert "pass --trust" in done.stderr
    assert not (podpass.data_dir / "directory.db").exists()
    done = podpass("restore", path, "--trust")
    assert done.returncode == 0, done.stderr
    assert read_ids(podpass) == read_ids(stopped_instance)
    status = podpass.up()
    assert list_identity_names(podpass) == ["web"]
    # The CA key never leaves its data directory, so this instance has its own.
    assert (podpass.data_dir / "ca/ca.pem").read_bytes() != (
        stopped_instance.data_dir / "ca/ca.pem"
    ).read_bytes()
    stored = json.loads((stopped_instance.data_dir / "instance.json").read_bytes())["admin"][
        "password"
    ]
    assert status["admin"]["password"] == stored
    assert count_rows(podpass.data_dir / "directory.db", "secret_versions") == 1
    pods = podpass("run", "--", "kubectl", "get", "serviceaccounts", "-A")
    assert pods.returncode == 0


def test_backup_without_keys_is_restored_after_the_keys_are_copied(
    podpass: Podpass, stopped_instance: Podpass
) -> None:
    path = str(stopped_instance.data_dir.parent / "sealed")
    done = podpass("restore", "--trust", path)
    assert done.returncode == 1
    assert "keys/authority.key here is missing" in done.stderr
    for name in ("authority.key", "vault.key"):
        (podpass.data_dir / "keys").mkdir(exist_ok=True)
        shutil.copy(stopped_instance.data_dir / "keys" / name, podpass.data_dir / "keys" / name)
    assert podpass("restore", "--trust", path).returncode == 0
    assert read_ids(podpass) == read_ids(stopped_instance)
    status = podpass.up()
    assert list_identity_names(podpass) == ["web"]
    # The administrator has the password of this instance.
    stored = json.loads((stopped_instance.data_dir / "instance.json").read_bytes())["admin"][
        "password"
    ]
    assert status["admin"]["password"] != stored
    with closing(sqlite3.connect(podpass.data_dir / "directory.db")) as connection:
        [(password_hash,)] = connection.execute("SELECT password FROM users").fetchall()
    assert passwords.check_password(status["admin"]["password"], password_hash)


def test_wrong_sealing_key_is_refused_and_changes_nothing(
    instance: Podpass, stopped_instance: Podpass
) -> None:
    (instance.data_dir / "keys/vault.key").write_bytes(b"x" * 32)
    before = (instance.data_dir / "directory.db").read_bytes()
    done = instance(
        "restore", "--trust", str(stopped_instance.data_dir.parent / "sealed"), "--replace"
    )
    assert "keys/vault.key here is another key" in done.stderr
    assert (instance.data_dir / "directory.db").read_bytes() == before


def test_backup_without_keys_contains_no_secret(stopped_instance: Podpass) -> None:
    folder, facts = (
        stopped_instance.data_dir,
        json.loads((stopped_instance.data_dir / "instance.json").read_bytes()),
    )
    secrets = [path.read_bytes() for path in (folder / "keys").rglob("*") if path.is_file()]
    secrets += [facts["admin"]["password"].encode(), facts["control_token"].encode(), b"hello"]
    secrets.append((folder / "ca/ca.key").read_bytes())

    def content(name: str) -> list[tuple[str, bytes]]:
        with tarfile.open(folder.parent / name) as seen:
            found = [(one.name, seen.extractfile(one)) for one in seen.getmembers()]
            return [(name, stream.read()) for name, stream in found if stream is not None]

    sealed = content("sealed")
    assert [name for name, _ in sealed if name.startswith("files/")] == []
    assert not [name for name, data in sealed for secret in secrets if secret in data]
    # With keys it contains everything except the CA key.
    whole = content("open")
    assert not [name for name, data in whole if secrets[-1] in data or "ca/" in name]
    assert {"files/keys/vault.key/000001", "files/kubernetes.db/000001"} <= {n for n, _ in whole}


def test_next_start_finishes_a_killed_restore(instance: Podpass, stopped_instance: Podpass) -> None:
    data_dir = DataDir(instance.data_dir)
    instance.up()
    apply(instance, MORE)
    instance("down")
    ready = finish_restore.pending_folder(data_dir)
    ready.mkdir()
    shutil.copy(stopped_instance.data_dir / "directory.db", ready)
    instance.up()
    assert not ready.exists()
    assert list_identity_names(instance) == ["web"]


def test_restore_deletes_the_journals_of_the_replaced_database(tmp_path: Path) -> None:
    """SQLite would apply them to the restored database."""
    data_dir = DataDir(tmp_path)
    for name in ("directory.db", "directory.db-wal", "directory.db-shm"):
        (tmp_path / name).write_bytes(b"old")
    ready = finish_restore.pending_folder(data_dir)
    (ready / "keys").mkdir(parents=True)
    (tmp_path / "keys" / "issuer").mkdir(parents=True)
    (tmp_path / "keys" / "issuer" / "000009.pem").write_bytes(b"old")
    (ready / "keys" / "vault.key").write_bytes(b"new")
    (ready / "directory.db").write_bytes(b"new")
    finish_restore.finish(data_dir)
    finish_restore.finish(data_dir)
    found = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"directory.db": b"new", "vault.key": b"new"}


def test_unfinished_restore_is_ignored_at_start(instance: Podpass) -> None:
    begun = instance.data_dir / "restore.part"
    begun.mkdir()
    (begun / "directory.db").write_bytes(b"half")
    instance.up()
    assert list_identity_names(instance) == ["web"]


def test_instance_backup_restores_a_database_and_a_database_backup_no_instance(
    podpass: Podpass, stopped_instance: Podpass, tmp_path: Path
) -> None:
    url = f"sqlite:///{stopped_instance.data_dir}/directory.db"
    assert podpass("backup", "--database", url, str(tmp_path / "one")).returncode == 0
    done = podpass("restore", "--trust", str(tmp_path / "one"))
    assert "restore it with --database URL" in done.stderr
    new = f"sqlite:///{tmp_path}/new.db"
    done = podpass("restore", "--database", new, str(stopped_instance.data_dir.parent / "sealed"))
    assert done.returncode == 0, done.stderr
    assert count_rows(tmp_path / "new.db", "identities") == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant_id": "../../x"},
        {"subscription_id": ""},
        {"issuer_id": "A" * 36},
        {"admin_username": "nobody"},
        {"admin_username": "a b@podpass.onmicrosoft.com"},
    ],
)
def test_backup_of_an_invalid_instance_is_refused_before_anything_is_created(
    stopped_instance: Podpass, podpass: Podpass, tmp_path: Path, changes: dict[str, str]
) -> None:
    manifest = archive.check(stopped_instance.data_dir.parent / "sealed")
    crafted = _write_backup(
        tmp_path,
        stopped_instance,
        replace(manifest, instance={**(manifest.instance or {}), **changes}),
    )
    done = podpass("restore", "--trust", str(crafted))
    assert done.returncode == 1
    assert "invalid ids or an invalid administrator name" in done.stderr
    assert not podpass.data_dir.exists()


def test_instance_file_that_differs_from_the_manifest_is_refused(
    stopped_instance: Podpass, podpass: Podpass, tmp_path: Path
) -> None:
    manifest = archive.check(stopped_instance.data_dir.parent / "open")
    other = {**(manifest.instance or {}), "tenant_id": "11111111-1111-4111-8111-111111111111"}
    crafted = _write_backup(
        tmp_path, stopped_instance, replace(manifest, instance=other), backup="open"
    )
    done = podpass("restore", str(crafted), "--trust")
    assert done.returncode == 1
    assert "differs from its manifest" in done.stderr
    assert not (podpass.data_dir / "instance.json").exists()
    assert not (podpass.data_dir / "directory.db").exists()


def test_backup_with_an_unknown_file_is_refused_before_anything_is_created(
    stopped_instance: Podpass, podpass: Podpass, tmp_path: Path
) -> None:
    """Attack: a backup from another person replaces files that tools of the user read."""
    manifest = archive.check(stopped_instance.data_dir.parent / "open")
    crafted = _write_backup(
        tmp_path,
        stopped_instance,
        manifest,
        backup="open",
        changed={"files/kubeconfig/000001": b"x"},
    )
    done = podpass("restore", "--trust", str(crafted))
    assert done.returncode == 1
    assert "the backup has an unknown file: kubeconfig" in done.stderr
    assert not podpass.data_dir.exists()


def _write_backup(
    folder: Path,
    original: Podpass,
    manifest: Manifest,
    *,
    backup: str = "sealed",
    changed: Mapping[str, bytes] | None = None,
) -> Path:
    """Write the backup again with another manifest, or with other parts."""
    whole, path = original.data_dir.parent / backup, folder / "crafted"
    parts = {**dict(archive.read_parts(whole, manifest)), **(changed or {})}
    with path.open("wb") as stream:
        writer = archive.Writer(stream)
        for name, data in parts.items():
            writer.add(name, data)
        writer.finish(replace(manifest, parts=tuple(writer.parts)))
    return path


def test_images_of_a_backup_are_restored_only_with_trust(
    instance: Podpass, stopped_instance: Podpass, tmp_path: Path
) -> None:
    """The author of an archive would otherwise choose a program that runs as the user who restores it."""
    manifest = archive.check(stopped_instance.data_dir.parent / "sealed")
    images = {"files/images.json/000001": b'{"app": ["/bin/sh", "-c", "id"]}'}
    path = str(_write_backup(tmp_path, stopped_instance, manifest, changed=images))
    done = instance("restore", path, "--replace")
    assert (done.returncode, "the backup contains images.json" in done.stderr) == (1, True)
    assert not (instance.data_dir / "images.json").exists()
    assert instance("restore", path, "--replace", "--trust").returncode == 0
    assert (instance.data_dir / "images.json").exists()


def test_directory_alone_is_restored_only_with_trust(
    instance: Podpass, stopped_instance: Podpass
) -> None:
    """Its author may have made an application an owner, which can create pods."""
    path = str(stopped_instance.data_dir.parent / "sealed")
    before = (instance.data_dir / "directory.db").read_bytes()
    done = instance("restore", path, "--replace")
    assert (done.returncode, "pass --trust" in done.stderr) == (1, True), done.stderr
    assert "the backup contains role assignments: its author could" in done.stderr
    assert (instance.data_dir / "directory.db").read_bytes() == before
    instance.up()
    done = instance("restore", path, "--replace")
    assert (done.returncode, "pass --trust" in done.stderr) == (1, True), done.stderr


@pytest.mark.parametrize("kept", ["files/instance.json", "files/keys/"])
def test_keys_and_passwords_of_a_backup_are_restored_only_with_trust(
    podpass: Podpass, stopped_instance: Podpass, tmp_path: Path, kept: str
) -> None:
    """Its author knows them: an administrator may create pods, whose programs run as this user."""
    complete = stopped_instance.data_dir.parent / "open"
    manifest = archive.check(complete)
    path = tmp_path / "crafted"
    with path.open("wb") as stream:
        writer = archive.Writer(stream)
        for name, data in archive.read_parts(complete, manifest):
            if not name.startswith("files/") or name.startswith(kept):
                writer.add(name, data)
        writer.finish(replace(manifest, parts=tuple(writer.parts)))
    done = podpass("restore", str(path))
    assert (done.returncode, "pass --trust" in done.stderr) == (1, True), done.stderr
    assert not (podpass.data_dir / "directory.db").exists()


def test_files_of_a_backup_are_restored_with_bounded_memory(tmp_path: Path) -> None:
    path, target = tmp_path / "file", DataDir(tmp_path / "target")
    with path.open("wb") as stream:
        writer = archive.Writer(stream)
        for number in range(1, 13):
            writer.add(f"files/kubernetes.db/{number:06d}", os.urandom(archive.PART_BYTES))
        manifest = Manifest(podpass="0", created="", stores={}, parts=tuple(writer.parts))
        writer.finish(manifest)
    tracemalloc.start()
    try:
        restore._write_files(path, manifest, target)
        assert tracemalloc.get_traced_memory()[1] < 8 * archive.PART_BYTES
    finally:
        tracemalloc.stop()
    assert target.path("kubernetes.db").stat().st_size == 12 * archive.PART_BYTES


def test_backup_with_large_keys_is_refused(
    podpass: Podpass, stopped_instance: Podpass, tmp_path: Path
) -> None:
    manifest = archive.check(stopped_instance.data_dir.parent / "sealed")
    keys = {"files/keys/large/000001": os.urandom(archive.PART_BYTES + 1)}
    crafted = _write_backup(tmp_path, stopped_instance, manifest, changed=keys)
    done = podpass("restore", "--trust", str(crafted))
    assert (done.returncode, "the backup's keys are too large" in done.stderr) == (1, True)


def test_restore_with_a_wrong_sealing_key_is_refused(
    podpass: Podpass, stopped_instance: Podpass, tmp_path: Path
) -> None:
    new = f"sqlite:///{tmp_path}/new.db"
    (tmp_path / "key").write_bytes(b"x" * 32)
    path = str(stopped_instance.data_dir.parent / "sealed")
    wrong = ("--sealing-key-file", str(tmp_path / "key"))
    done = podpass("restore", "--database", new, *wrong, path)
    assert done.returncode == 1
    assert "not sealed with" in done.stderr
    right = ("--sealing-key-file", str(stopped_instance.data_dir / "keys/authority.key"))
    assert podpass("restore", "--database", new, *right, path).returncode == 0


def test_check_reads_a_backup_and_changes_nothing(
    stopped_instance: Podpass, podpass: Podpass, tmp_path: Path
) -> None:
    path = stopped_instance.data_dir.parent / "sealed"
    done = podpass("backup", "--check", str(path), "-o", "json")
    summary = json.loads(done.stdout)
    assert (summary["rows"]["identities"], summary["files"]) == (1, [])
    assert summary["bytes"] == path.stat().st_size
    (tmp_path / "cut").write_bytes(path.read_bytes()[:-9])
    done = podpass("backup", "--check", str(tmp_path / "cut"))
    assert (done.returncode, done.stdout) == (1, "")
    assert not podpass.data_dir.exists()


def test_backup_of_a_directory_without_an_instance_is_refused(podpass: Podpass) -> None:
    done = podpass("backup", str(podpass.data_dir.parent / "backup"))
    assert done.returncode == 1
    assert "there is no instance in" in done.stderr
    assert not podpass.data_dir.exists()


def test_option_with_keys_is_refused_for_a_database(podpass: Podpass) -> None:
    done = podpass("backup", "--database", "sqlite:////x.db", "--with-keys", "x")
    assert done.returncode == 2
    assert "store the sealing key" in done.stderr


def test_option_trust_is_refused_for_a_database(podpass: Podpass, tmp_path: Path) -> None:
    """Nothing in a database of a cluster is a program of this machine."""
    target = f"sqlite:///{tmp_path}/new.db"
    done = podpass("restore", "--database", target, "--trust", str(tmp_path / "backup"))
    assert done.returncode == 2
    assert "--trust has no effect with --database" in done.stderr
    assert not (tmp_path / "new.db").exists()
