"""A serving certificate in files that another program writes."""

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from podpass.admission.certificate_files import CertificateFiles
from podpass.admission.certificates import CertificateRotator
from podpass.clock import system
from podpass.kubernetes.client import KubeClient, Target

QUICK = 0.02


def write(ca: trustme.CA, folder: Path, not_after: datetime | None = None) -> None:
    leaf = ca.issue_cert("127.0.0.1", not_after=not_after)
    leaf.private_key_pem.write_to_path(str(folder / "tls.key"))
    leaf.cert_chain_pems[0].write_to_path(str(folder / "tls.crt"))


def files(folder: Path, lowest: str = "1.3") -> CertificateFiles:
    return CertificateFiles(folder, tls_min_version=lowest, poll_seconds=QUICK)


async def test_existing_files_are_served(ca: trustme.CA, tmp_path: Path) -> None:
    write(ca, tmp_path)
    made = files(tmp_path)
    assert "no certificate to serve" in made.not_ready_reason()
    async with made as kept:
        assert kept.not_ready_reason() == ""
        assert kept.not_after > 0
        assert (kept.ca_not_after, kept.rotations) == (0, 0)
        assert kept.context.minimum_version is ssl.TLSVersion.TLSv1_3


async def test_start_waits_for_missing_files(
    ca: trustme.CA, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = files(tmp_path)
    entering = asyncio.create_task(made.__aenter__())
    await asyncio.sleep(QUICK * 10)
    assert "tls.crt cannot be read" in made.not_ready_reason()
    message = [record.message for record in caplog.records]
    assert message.count("certificate_load_failed") == 1, "checked often, logged once"
    write(ca, tmp_path)
    async with asyncio.timeout(10):
        await entering
    assert made.not_ready_reason() == ""
    await made.__aexit__(None, None, None)


async def test_renewed_pair_is_loaded_into_the_same_context(ca: trustme.CA, tmp_path: Path) -> None:
    write(ca, tmp_path)
    async with files(tmp_path) as kept, asyncio.timeout(20):
        context, before = kept.context, kept.not_after
        write(ca, tmp_path, not_after=datetime(2090, 1, 1, tzinfo=UTC))
        while not kept.rotations:  # noqa: ASYNC110 there is no event for a changed file
            await asyncio.sleep(QUICK)
        assert kept.rotations == 1
        assert kept.not_after != before
        assert kept.context is context
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3


async def test_invalid_renewal_is_degraded_until_a_valid_one(
    ca: trustme.CA, tmp_path: Path
) -> None:
    write(ca, tmp_path)
    made = files(tmp_path)
    assert made.is_degraded, "there are no files yet"
    async with made as kept, asyncio.timeout(20):
        assert not kept.is_degraded
        (tmp_path / "tls.crt").write_text("no certificate")
        while not kept.is_degraded:  # noqa: ASYNC110 there is no event for a changed file
            await asyncio.sleep(QUICK)
        assert kept.not_ready_reason() == "", "the served certificate is still valid"
        write(ca, tmp_path)
        while kept.is_degraded:  # noqa: ASYNC110 there is no event for a changed file
            await asyncio.sleep(QUICK)


async def test_expired_certificate_is_reported(ca: trustme.CA, tmp_path: Path) -> None:
    write(ca, tmp_path, not_after=datetime(2090, 1, 1, tzinfo=UTC))
    now = datetime(2089, 12, 31, tzinfo=UTC).timestamp()
    made = CertificateFiles(tmp_path, tls_min_version="1.3", clock=lambda: now)
    async with made as kept:
        assert kept.not_ready_reason() == ""
        now = kept.not_after
        assert kept.not_ready_reason() == "the certificate expired at 2090-01-01T00:00:00Z"


@pytest.mark.parametrize("text", ["1.0", "1.1", "1.2"])
async def test_minimum_tls_version_is_never_below_1_2(
    ca: trustme.CA, tmp_path: Path, text: str
) -> None:
    """RFC 8996 forbids both older versions, for every certificate source."""
    write(ca, tmp_path)
    async with files(tmp_path, text) as kept:
        assert kept.context.minimum_version is ssl.TLSVersion.TLSv1_2
    client = KubeClient(Target(server="http://127.0.0.1:9"))  # never receives a request
    rotation = CertificateRotator(
        client, namespace="one", configurations=(), clock=system, tls_min_version=text
    )
    assert rotation.context.minimum_version is ssl.TLSVersion.TLSv1_2
