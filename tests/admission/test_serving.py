"""A certificate that somebody else keeps in files."""

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from podpass.admission.certificate_files import CertificateFiles
from podpass.admission.certificates import Rotation
from podpass.clock import system
from podpass.kubernetes.client import KubeClient, Target

QUICK = 0.02


def write(ca: trustme.CA, folder: Path, not_after: datetime | None = None) -> None:
    leaf = ca.issue_cert("127.0.0.1", not_after=not_after)
    leaf.private_key_pem.write_to_path(str(folder / "tls.key"))
    leaf.cert_chain_pems[0].write_to_path(str(folder / "tls.crt"))


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


def files(folder: Path, lowest: str = "1.3") -> CertificateFiles:
    return CertificateFiles(folder, tls_min_version=lowest, poll_seconds=QUICK)


async def test_what_lies_there_is_served(ca: trustme.CA, tmp_path: Path) -> None:
    write(ca, tmp_path)
    made = files(tmp_path)
    assert "no certificate to serve" in made.trouble()
    async with made as kept:
        assert kept.trouble() == ""
        assert kept.not_after > 0
        assert (kept.ca_not_after, kept.rotations) == (0, 0)
        assert kept.context.minimum_version is ssl.TLSVersion.TLSv1_3


async def test_what_does_not_lie_there_yet_is_waited_for(
    ca: trustme.CA, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = files(tmp_path)
    entering = asyncio.create_task(made.__aenter__())
    await asyncio.sleep(QUICK * 10)
    assert "tls.crt cannot be read" in made.trouble()
    said = [record.message for record in caplog.records]
    assert said.count("certificate_not_usable") == 1, "looked at often, told once"
    write(ca, tmp_path)
    async with asyncio.timeout(10):
        await entering
    assert made.trouble() == ""
    await made.__aexit__(None, None, None)


async def test_a_renewed_pair_is_taken_into_the_same_context(
    ca: trustme.CA, tmp_path: Path
) -> None:
    write(ca, tmp_path)
    async with files(tmp_path) as kept, asyncio.timeout(20):
        context, before = kept.context, kept.not_after
        write(ca, tmp_path, not_after=datetime(2090, 1, 1, tzinfo=UTC))
        while not kept.rotations:  # noqa: ASYNC110 files tell nobody of a change
            await asyncio.sleep(QUICK)
        assert kept.rotations == 1
        assert kept.not_after != before
        assert kept.context is context
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3


async def test_a_renewal_that_does_not_fit_hinders_until_one_does(
    ca: trustme.CA, tmp_path: Path
) -> None:
    write(ca, tmp_path)
    made = files(tmp_path)
    assert made.is_hindered, "nothing is there yet"
    async with made as kept, asyncio.timeout(20):
        assert not kept.is_hindered
        (tmp_path / "tls.crt").write_text("no certificate")
        while not kept.is_hindered:  # noqa: ASYNC110 files tell nobody of a change
            await asyncio.sleep(QUICK)
        assert kept.trouble() == "", "what is served is still good"
        write(ca, tmp_path)
        while kept.is_hindered:  # noqa: ASYNC110 files tell nobody of a change
            await asyncio.sleep(QUICK)


async def test_a_pair_whose_time_is_over_is_told(ca: trustme.CA, tmp_path: Path) -> None:
    write(ca, tmp_path, not_after=datetime(2090, 1, 1, tzinfo=UTC))
    now = datetime(2089, 12, 31, tzinfo=UTC).timestamp()
    made = CertificateFiles(tmp_path, tls_min_version="1.3", clock=lambda: now)
    async with made as kept:
        assert kept.trouble() == ""
        now = kept.not_after
        assert kept.trouble() == "the certificate expired at 2090-01-01T00:00:00Z"


@pytest.mark.parametrize("text", ["1.0", "1.1", "1.2"])
async def test_nothing_below_tls_1_2_is_spoken_whatever_is_allowed(
    ca: trustme.CA, tmp_path: Path, text: str
) -> None:
    """RFC 8996: both are broken, whoever keeps the certificate."""
    write(ca, tmp_path)
    async with files(tmp_path, text) as kept:
        assert kept.context.minimum_version is ssl.TLSVersion.TLSv1_2
    client = KubeClient(Target(server="http://127.0.0.1:9"))  # constructed, and never asked
    rotation = Rotation(
        client, namespace="one", configurations=(), clock=system, tls_min_version=text
    )
    assert rotation.context.minimum_version is ssl.TLSVersion.TLSv1_2
