"""Rotation of the certificates of an instance: trust during and after it, and a kill at any moment."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from podpass import clock
from podpass.lab.data import ca, ca_rotation, certificate_rotation, trust
from podpass.lab.data.certificate_rotation import CertificateRotation, RotationHooks
from podpass.lab.data.datadir import DataDir, DataDirError, initialise, prepare
from podpass.lab.data.served_tls import ServedTls

DAY = 24 * 3600


class Killed(BaseException):
    """The process ends, as by SIGKILL: no handler for errors runs."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = DataDir(tmp_path_factory.mktemp("template") / "instance")
    prepare(made)
    initialise(made)
    ca.ensure_certificates(made)
    trust.write_stores(made, _environ(made.root.parent))
    return made.root


@pytest.fixture(scope="module", autouse=True)
def _no_wait_for_clients() -> Iterator[None]:
    """Skip the time in which running clients read the new CA: these tests have no clients."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(certificate_rotation, "_CLIENT_SECONDS", 0.0)
        yield


@pytest.fixture
def data_dir(template: Path, tmp_path: Path) -> DataDir:
    return _copy(template, tmp_path / "instance")


def _copy(template: Path, target: Path) -> DataDir:
    shutil.copytree(template, target)
    return DataDir(target)


def _environ(folder: Path) -> dict[str, str]:
    """Return an environment with one public CA: trust stores are written faster than with the system's."""
    path = folder / "public.pem"
    if not path.exists():
        other = DataDir(folder / "public")
        prepare(other)
        initialise(other)
        ca.ensure_certificates(other)
        path.write_bytes(other.ca_file.read_bytes())
    return {"SSL_CERT_FILE": str(path)}


def _rotation(data_dir: DataDir, environ: dict[str, str], steps: list[str]) -> CertificateRotation:
    async def follow(ca_pem: bytes) -> None:
        assert ca_pem == data_dir.ca_file.read_bytes()
        steps.append("follow")

    def accept(cas: bytes) -> None:
        steps.append(f"accept {cas.count(b'BEGIN')}")

    hooks = RotationHooks(accept=accept, follow=follow, withdraw=lambda: steps.append("withdraw"))
    return CertificateRotation(
        data_dir, ServedTls(data_dir), hooks, environ=environ, clock=clock.system
    )


def _start(data_dir: DataDir, environ: dict[str, str]) -> None:
    """Do what the next start of the instance does with its certificates."""
    ca_rotation.resume(data_dir)
    ca.ensure_certificates(data_dir)
    trust.write_stores(data_dir, environ)
    ca_rotation.complete(data_dir)


def _load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def _is_trusted(certificate: Path, ca_file: Path) -> bool:
    """Return whether OpenSSL accepts a server with this certificate and the chain in its file."""
    command: list[str | Path] = [
        *("openssl", "verify", "-CAfile", ca_file, "-untrusted", certificate, certificate),
    ]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _check(data_dir: DataDir) -> None:
    authority = _load(data_dir.ca_file)
    for name in ("leaf", *ca.CLIENTS):
        _load(data_dir.certificate(name)).verify_directly_issued_by(authority)
        key = ca.parse_key(data_dir.key(name).read_bytes())
        assert key.public_key() == _load(data_dir.certificate(name)).public_key()
    pem = data_dir.ca_file.read_bytes().strip()
    assert pem in data_dir.bundle.read_bytes()
    assert (data_dir.certs / "podpass.pem").read_bytes().strip() == pem
    assert not data_dir.path("ca", "next.pem").exists()


async def test_programs_that_trust_the_old_or_the_new_ca_accept_the_servers(
    data_dir: DataDir, tmp_path: Path
) -> None:
    """Fails if a program that runs since before the rotation refuses the new certificate."""
    old = tmp_path / "old.pem"
    old.write_bytes(data_dir.ca_file.read_bytes())
    steps: list[str] = []
    await _rotation(data_dir, _environ(tmp_path), steps).run()
    assert steps == ["accept 2", "follow", "accept 1", "withdraw"]
    assert data_dir.ca_file.read_bytes() != old.read_bytes()
    _check(data_dir)
    assert _is_trusted(data_dir.certificate("leaf"), old)
    assert _is_trusted(data_dir.certificate("leaf"), data_dir.ca_file)
    assert not _is_trusted(data_dir.certificate("admin"), old)


async def test_renewed_leaf_is_also_accepted_by_programs_that_trust_the_old_ca(
    data_dir: DataDir, tmp_path: Path
) -> None:
    old = tmp_path / "old.pem"
    old.write_bytes(data_dir.ca_file.read_bytes())
    await _rotation(data_dir, _environ(tmp_path), []).run()
    before = _load(data_dir.certificate("leaf"))
    data_dir.certificate("leaf").unlink()
    ca.ensure_certificates(data_dir)
    assert _load(data_dir.certificate("leaf")).serial_number != before.serial_number
    assert _is_trusted(data_dir.certificate("leaf"), old)


async def test_ca_signed_by_the_replaced_ca_may_sign_no_ca_and_no_other_host(
    data_dir: DataDir, tmp_path: Path
) -> None:
    old = _load(data_dir.ca_file)
    await _rotation(data_dir, _environ(tmp_path), []).run()
    cross = _load(data_dir.replaced_ca_chain)
    cross.verify_directly_issued_by(old)
    found = cross.extensions
    assert found.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    constraints = found.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    assert constraints.value == old.extensions.get_extension_for_class(x509.NameConstraints).value
    assert cross.not_valid_after_utc == old.not_valid_after_utc


async def test_second_rotation_replaces_the_chain(data_dir: DataDir, tmp_path: Path) -> None:
    rotation = _rotation(data_dir, _environ(tmp_path), [])
    await rotation.run()
    middle = tmp_path / "middle.pem"
    middle.write_bytes(data_dir.ca_file.read_bytes())
    await rotation.run()
    _check(data_dir)
    assert _is_trusted(data_dir.certificate("leaf"), middle)


async def test_rotation_that_is_killed_at_any_write_is_completed_at_the_next_start(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kill the rotation at its first write to the disk, then at its second, and so on."""
    environ = _environ(tmp_path)
    fsync, outcomes = os.fsync, []
    for limit in range(1, 200):
        data_dir = _copy(template, tmp_path / f"killed-{limit}")
        before, calls = data_dir.ca_file.read_bytes(), 0

        def write(handle: int, limit: int = limit) -> None:
            nonlocal calls
            calls += 1
            if calls == limit:
                raise Killed
            fsync(handle)

        monkeypatch.setattr(os, "fsync", write)
        try:
            await _rotation(data_dir, environ, []).run()
        except Killed:
            outcome: Any = data_dir.path("ca", "next.pem").exists()
        else:
            outcome = None
        monkeypatch.undo()
        pending = ca_rotation.read_pending(data_dir)
        _start(data_dir, environ)
        _check(data_dir)
        if pending is not None:
            assert _load(data_dir.ca_file) == pending.certificate
        elif outcome is False and limit == 1:
            assert data_dir.ca_file.read_bytes() == before
        outcomes.append(outcome)
        if outcome is None:
            break
    assert outcomes[-1] is None, "no rotation was completed"
    assert outcomes.count(True) > 10


async def test_rotation_that_failed_is_repeated_with_the_same_ca(
    data_dir: DataDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise DataDirError("the disk is full")

    environ = _environ(tmp_path)
    steps: list[str] = []
    rotation = _rotation(data_dir, environ, steps)
    monkeypatch.setattr(trust, "write_stores", fail)
    with pytest.raises(DataDirError):
        await rotation.run()
    monkeypatch.undo()
    pending = ca_rotation.read_pending(data_dir)
    assert pending is not None
    assert steps == ["accept 2"]
    steps.clear()
    await rotation.run()
    assert _load(data_dir.ca_file) == pending.certificate
    assert steps == ["accept 2", "follow", "accept 1", "withdraw"]
    _check(data_dir)


@pytest.mark.parametrize("days", [-1, 3651])
async def test_rotation_at_a_wrong_time_is_refused_and_changes_nothing(
    data_dir: DataDir, days: int
) -> None:
    before = data_dir.ca_file.read_bytes()
    with pytest.raises(DataDirError, match="but the clock of this machine"):
        ca_rotation.begin(data_dir, lambda: clock.system() + days * DAY)
    assert data_dir.ca_file.read_bytes() == before
    assert ca_rotation.read_pending(data_dir) is None


@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\nx", b"\xff"])
def test_damaged_file_of_a_rotation_is_reported_with_a_hint(
    data_dir: DataDir, content: bytes
) -> None:
    path = data_dir.path("ca", "next.pem")
    path.write_bytes(content)
    with pytest.raises(DataDirError, match=r"next\.pem is damaged") as caught:
        ca_rotation.resume(data_dir)
    assert "remove the folder" in str(caught.value.hint)


def test_key_of_a_rotation_is_readable_by_the_owner_only(data_dir: DataDir) -> None:
    ca_rotation.begin(data_dir)
    assert data_dir.path("ca", "next.pem").stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in repr(ca_rotation.read_pending(data_dir))
