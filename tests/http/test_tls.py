"""Reload of certificates: which are loaded, which are not, and that no request fails."""

import asyncio
import contextlib
import logging
import ssl
import warnings
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from podpass.http import server, tls
from podpass.http.tls import CertificateInvalid, ReloadingTls

REQUEST = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"


async def _app(_scope: server.Scope, _receive: server.Receive, send: server.Send) -> None:
    await server.respond(send, 200, b"{}")


@dataclass
class Files:
    """A directory with certificate and key."""

    folder: Path
    ca: trustme.CA

    @property
    def certificate(self) -> Path:
        return self.folder / "tls.crt"

    @property
    def key(self) -> Path:
        return self.folder / "tls.key"

    def issue(
        self, *, not_before: datetime | None = None, not_after: datetime | None = None
    ) -> trustme.LeafCert:
        return self.ca.issue_cert("localhost", not_before=not_before, not_after=not_after)

    def write(self, leaf: trustme.LeafCert) -> bytes:
        """Write a certificate with its key, and return it as DER."""
        chain = b"".join(pem.bytes() for pem in leaf.cert_chain_pems)
        self.certificate.write_bytes(chain)
        self.key.write_bytes(leaf.private_key_pem.bytes())
        return _der(leaf)

    def open(self) -> ReloadingTls:
        return ReloadingTls(self.certificate, self.key)


def _der(leaf: trustme.LeafCert) -> bytes:
    return ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())


@pytest.fixture
def files(ca: trustme.CA, tmp_path: Path) -> Files:
    return Files(folder=tmp_path, ca=ca)


@contextlib.asynccontextmanager
async def _serve(reloading: ReloadingTls) -> AsyncIterator[int]:
    sock = server.bind("127.0.0.1", 0)
    port = int(sock.getsockname()[1])
    async with server.serving(_app, sock, reloading.context):
        yield port


def _client_context(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


async def _read_presented_certificate(port: int, ca: trustme.CA) -> bytes:
    """Return the certificate that the server sends to a new connection, after its verification."""
    _, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=_client_context(ca), server_hostname="localhost"
    )
    der: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()
    return der


async def test_new_certificate_is_used_for_new_connections(files: Files) -> None:
    first = files.write(files.issue())
    reloading = files.open()
    async with _serve(reloading) as port:
        assert await _read_presented_certificate(port, files.ca) == first
        second = files.write(files.issue())
        assert reloading.reload()
        assert await _read_presented_certificate(port, files.ca) == second
        assert not reloading.reload()


@pytest.mark.processes
async def test_no_request_fails_during_reloads_under_load(files: Files) -> None:
    files.write(files.issue())
    reloading = files.open()
    answered = 0

    async def ask_once(port: int) -> None:
        nonlocal answered
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=_client_context(files.ca), server_hostname="localhost"
        )
        for _ in range(3):
            writer.write(REQUEST)
            assert b"200 OK" in await reader.readuntil(b"{}")
            answered += 1
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    async def ask(port: int, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await ask_once(port)

    async with _serve(reloading) as port:
        stop = asyncio.Event()
        asking = [asyncio.create_task(ask(port, stop)) for _ in range(8)]
        for number in range(20):
            leaf = files.issue()
            files.write(leaf)
            if number % 3 == 1:
                files.key.write_bytes(
                    files.issue().private_key_pem.bytes()
                )  # not the key of the certificate
            if number % 3 == 2:
                files.certificate.write_bytes(b"garbage")
            reloading.reload()
            await asyncio.sleep(0.01)
        stop.set()
        await asyncio.gather(*asking)
    assert answered > 20
    assert reloading.failures >= 10


async def test_key_of_another_certificate_is_not_loaded(files: Files) -> None:
    """If it were loaded into the context in use, every later handshake would fail."""
    first = files.write(files.issue())
    reloading = files.open()
    async with _serve(reloading) as port:
        files.key.write_bytes(files.issue().private_key_pem.bytes())
        assert not reloading.reload()
        assert await _read_presented_certificate(port, files.ca) == first
        # The other file is written later, and the pair is loaded then.
        second = files.write(files.issue())
        assert reloading.reload()
        assert await _read_presented_certificate(port, files.ca) == second
    assert reloading.failures == 1


async def test_invalid_pair_never_reaches_the_context_in_use(files: Files) -> None:
    """OpenSSL would use the certificate of the pair before it refuses the key."""
    first = files.write(files.issue())
    pair = tls.read_pair(files.certificate, files.key)
    server_tls = tls.ServerTls()
    server_tls.load(pair)
    files.write(files.issue())
    other = tls.read_pair(files.certificate, files.key)
    with pytest.raises(CertificateInvalid):
        server_tls.load(replace(other, key=pair.key))
    sock = server.bind("127.0.0.1", 0)
    port = int(sock.getsockname()[1])
    async with server.serving(_app, sock, server_tls.context):
        assert await _read_presented_certificate(port, files.ca) == first


@pytest.mark.parametrize("damage", ["garbage", "empty", "missing", "long", "encrypted"])
async def test_invalid_files_are_not_loaded(files: Files, damage: str) -> None:
    first = files.write(files.issue())
    reloading = files.open()
    async with _serve(reloading) as port:
        leaf = files.issue()
        files.write(leaf)
        if damage == "missing":
            files.certificate.unlink()
        elif damage == "encrypted":
            files.key.write_bytes(_encrypt_key(leaf))
        else:
            # The long file would be valid if it were read completely.
            texts = {"garbage": b"-----BEGIN CERTIFICATE-----\nxx\n", "empty": b""}
            long = files.certificate.read_bytes() + b"\n" * 70_000
            files.certificate.write_bytes(texts.get(damage, long))
        assert not reloading.reload()
        assert await _read_presented_certificate(port, files.ca) == first
    assert reloading.failures == 1


def _encrypt_key(leaf: trustme.LeafCert) -> bytes:
    key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )


def test_encrypted_key_has_its_own_error(files: Files) -> None:
    """Otherwise OpenSSL would prompt for the password on the terminal."""
    leaf = files.issue()
    files.write(leaf)
    files.key.write_bytes(_encrypt_key(leaf))
    with pytest.raises(CertificateInvalid, match="is encrypted"):
        files.open()


def test_repeated_error_is_logged_once(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    files.write(files.issue())
    reloading = files.open()
    files.certificate.write_bytes(b"garbage")
    with caplog.at_level(logging.ERROR, "podpass"):
        for _ in range(5):
            reloading.reload()
    assert [record.getMessage() for record in caplog.records] == ["certificate_reload_failed"]
    assert reloading.failures == 1


def test_start_without_certificate_fails(files: Files) -> None:
    files.write(files.issue())
    files.key.write_bytes(files.issue().private_key_pem.bytes())
    with pytest.raises(CertificateInvalid, match="not a valid pair"):
        files.open()


def test_error_contains_no_key(files: Files) -> None:
    leaf = files.issue()
    files.write(leaf)
    files.certificate.write_bytes(leaf.private_key_pem.bytes())
    with pytest.raises(CertificateInvalid) as refused:
        files.open()
    secret = leaf.private_key_pem.bytes().decode().splitlines()[1]
    assert secret not in f"{refused.value} {refused.value.facts}"
    files.write(leaf)
    assert secret not in repr(tls.read_pair(files.certificate, files.key))


def test_reload_keeps_minimum_version_and_ciphers(files: Files) -> None:
    """Fails if a reload resets both to the defaults of the library, as in another identity provider."""
    files.write(files.issue())
    reloading = files.open()
    before = (
        reloading.context.minimum_version,
        [cipher["name"] for cipher in reloading.context.get_ciphers()],
        reloading.context.options,
        reloading.context.verify_mode,
    )
    assert before[0] is ssl.TLSVersion.TLSv1_2
    context = reloading.context
    files.write(files.issue())
    assert reloading.reload()
    assert reloading.context is context
    assert before == (
        context.minimum_version,
        [cipher["name"] for cipher in context.get_ciphers()],
        context.options,
        context.verify_mode,
    )


async def test_old_tls_version_is_refused_after_reload(files: Files) -> None:
    files.write(files.issue())
    reloading = files.open()
    files.write(files.issue())
    reloading.reload()
    old = _client_context(files.ca)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("DEFAULT@SECLEVEL=0")
    async with _serve(reloading) as port:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", port, ssl=old, server_hostname="localhost")


def test_both_files_are_read_from_one_secret_revision(files: Files) -> None:
    """As in the kubelet: files in a directory, a link to the directory, and links through that link."""
    for number in (1, 2):
        revision = Files(folder=files.folder / f"..rev{number}", ca=files.ca)
        revision.folder.mkdir()
        revision.write(files.issue())
    link = files.folder / "..data"
    link.symlink_to("..rev1")
    for name in ("tls.crt", "tls.key"):
        (files.folder / name).symlink_to(f"..data/{name}")
    reloading = files.open()
    found = tls.resolve_revision(files.certificate, files.key)
    assert [path.parent.name for path in found] == ["..rev1", "..rev1"]
    swap = files.folder / "..data_tmp"
    swap.symlink_to("..rev2")
    swap.rename(link)
    assert reloading.reload()
    # Paths that were resolved before the swap still belong to one revision, the old one.
    assert [path.parent.name for path in found] == ["..rev1", "..rev1"]
    assert [path.parent.name for path in tls.resolve_revision(files.certificate, files.key)] == [
        "..rev2",
        "..rev2",
    ]
    assert reloading.failures == 0


def test_secret_revision_that_is_swapped_between_the_reads_is_not_mixed(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    ders = []
    for number in (1, 2):
        revision = Files(folder=files.folder / f"..rev{number}", ca=files.ca)
        revision.folder.mkdir()
        ders.append(revision.write(files.issue()))
    link = files.folder / "..data"
    link.symlink_to("..rev1")
    for name in ("tls.crt", "tls.key"):
        (files.folder / name).symlink_to(f"..data/{name}")
    read_file = tls._read_file

    def read_then_swap(path: Path, limit: int) -> bytes:
        data = read_file(path, limit)
        swap = files.folder / "..data_tmp"
        swap.symlink_to("..rev2")
        swap.rename(link)
        return data

    monkeypatch.setattr(tls, "_read_file", read_then_swap)
    pair = tls.read_pair(files.certificate, files.key)
    assert ssl.PEM_cert_to_DER_cert(pair.chain.decode()) == ders[0]


def test_expired_certificate_does_not_replace_valid_one(files: Files) -> None:
    now = datetime.now(UTC)
    files.write(files.issue(not_after=now + timedelta(days=30)))
    reloading = files.open()
    kept = reloading.not_after
    files.write(files.issue(not_after=now - timedelta(days=1), not_before=now - timedelta(days=2)))
    assert not reloading.reload()
    assert reloading.not_after == kept
    assert reloading.failures == 1


@pytest.mark.parametrize(
    ("days", "event"), [(30, None), (3, "certificate_expires_soon"), (-1, "certificate_expired")]
)
def test_certificate_expiry_is_logged(
    files: Files, caplog: pytest.LogCaptureFixture, days: int, event: str | None
) -> None:
    now = datetime.now(UTC)
    leaf = files.issue(not_before=now - timedelta(days=9), not_after=now + timedelta(days=days))
    files.write(leaf)
    with caplog.at_level(logging.WARNING, "podpass"):
        reloading = files.open()
    assert [record.getMessage() for record in caplog.records] == ([event] if event else [])
    assert reloading.not_after == pytest.approx((now + timedelta(days=days)).timestamp(), abs=2)


def test_certificate_expiry_is_logged_daily_while_serving(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    begins = datetime.now(UTC)
    files.write(files.issue(not_before=begins, not_after=begins + timedelta(days=30)))
    now = begins.timestamp()
    reloading = ReloadingTls(files.certificate, files.key, lambda: now)
    with caplog.at_level(logging.WARNING, "podpass"):
        for _ in range(31 * 4):
            reloading.reload()
            now += 6 * 3600
    events = [record.getMessage() for record in caplog.records]
    assert events.count("certificate_expires_soon") in (7, 8)  # days of the clock
    assert events[-1] == "certificate_expired"
    assert len(events) <= 10


def test_certificate_is_stale_until_a_valid_pair_is_loaded(files: Files) -> None:
    files.write(files.issue())
    reloading = files.open()
    seen = []
    reloading.on_check = lambda: seen.append((reloading.is_stale, reloading.failures))
    kept = files.key.read_bytes()
    files.write(files.issue())
    files.key.write_bytes(kept)
    assert not reloading.reload()
    files.write(files.issue())
    assert reloading.reload()
    assert seen == [(True, 1), (False, 1)]


async def test_changed_certificate_files_are_loaded_while_watching(files: Files) -> None:
    files.write(files.issue())
    reloading = files.open()
    async with _serve(reloading) as port, reloading.watching(0.01):
        second = files.write(files.issue())
        for _ in range(500):
            if (shown := await _read_presented_certificate(port, files.ca)) == second:
                break
            await asyncio.sleep(0.01)
        assert shown == second


@pytest.fixture(autouse=True)
def _no_files_left() -> Iterator[None]:
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    yield
    if before:
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2


@pytest.mark.parametrize("minimum", ["1.2", "1.3"])
async def test_client_below_minimum_tls_version_is_refused(files: Files, minimum: str) -> None:
    """Fails if the configured version is not set on the context."""
    files.write(files.issue())
    reloading = ReloadingTls(files.certificate, files.key, minimum=minimum)
    old = _client_context(files.ca)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with _serve(reloading) as port:
        connecting = asyncio.open_connection("localhost", port, ssl=old)
        if minimum == "1.3":
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await connecting
        else:
            _, writer = await connecting
            writer.close()
            await writer.wait_closed()


@pytest.mark.parametrize("minimum", ["1.0", "1.1", "1.2"])
def test_minimum_tls_version_is_at_least_1_2(minimum: str) -> None:
    """RFC 8996: TLS 1.0 and 1.1 are deprecated."""
    assert tls.ServerTls(minimum=minimum).context.minimum_version is ssl.TLSVersion.TLSv1_2
