"""The reference's binary and a replica of ours with one Secret and one webhook configuration."""

import asyncio
import base64
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from podpass.admission.certificates import RotationPolicy, secret_codec
from podpass.admission.certificates.x509 import RsaCertificateIssuer
from tests import process_reaper
from tests.admission.certificates import reference
from tests.admission.certificates.conftest import lab, rbac_only_lab
from tests.admission.certificates.lab import HOST, NAMESPACE, Lab, handshake
from tests.kubeconfigs import build_kubeconfig
from tests.ports import exclusive_port
from tests.programs import built
from tests.waiting import eventually

__all__ = ["lab", "rbac_only_lab"]  # fixtures

pytestmark = [pytest.mark.peers, pytest.mark.timeout(1200)]
POLICY = RotationPolicy(propagation_seconds=0.4, overlap_seconds=600, check_seconds=0.2)
PORT = 9443  # the reference can use no other port


@pytest.fixture(scope="module")
def program() -> Iterator[Path]:
    program = built("azwi-webhook")
    with exclusive_port(PORT):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", PORT)) == 0:
                pytest.skip(f"the reference's webhook: another process listens on port {PORT}")
        yield program


@asynccontextmanager
async def running(program: Path, lab: Lab, folder: Path) -> AsyncIterator[None]:
    """Run the reference's webhook with the Secret's data as files, as the kubelet mounts it."""
    (certificates := folder / "certificates").mkdir()
    for name, content in (await lab.data()).items():
        (certificates / name).write_bytes(content)
    authority = base64.b64encode((folder / "ca.pem").read_bytes()).decode()
    trust = {"certificate-authority-data": authority}
    config = build_kubeconfig(lab.server, {"token": "admin-token"}, **trust)
    (kubeconfig := folder / "kubeconfig").write_text(yaml.safe_dump(config))
    with (folder / "log").open("w") as log:
        process = await asyncio.create_subprocess_exec(
            *(str(program), f"--kubeconfig={kubeconfig}", f"--webhook-cert-dir={certificates}"),
            *("--health-addr=127.0.0.1:0", "--metrics-addr=127.0.0.1:0", "--log-level=all"),
            env={
                "AZURE_TENANT_ID": "tenant",
                "POD_NAMESPACE": NAMESPACE,
                **process_reaper.run_mark(),
            },
            stdout=log,
            stderr=log,
        )
        try:
            await eventually(lambda: "are injected" in (folder / "log").read_text(), 90)
            yield
        finally:
            process.terminate()
            await process.wait()


async def test_reference_keeps_our_secret_during_a_rotation(
    program: Path, lab: Lab, tmp_path: Path
) -> None:
    replica = await lab.replica(policy=POLICY)
    await eventually(lambda: not replica.rotation.not_ready_reason())
    data = await lab.data()
    lingering = (
        RsaCertificateIssuer(host=HOST, now=lab.clock(), policy=POLICY).create_ca().certificate
    )
    await lab.write_secret(data := {**data, "ca.crt": data["ca.crt"] + lingering})
    await eventually(lambda: _has_certificates(lab, 2))
    before = lab.cluster.store.revision
    async with running(program, lab, tmp_path):
        await asyncio.sleep(3)
        assert await lab.data() == data
        assert lab.cluster.store.revision == before, "neither wrote to the Secret"
        # Both repair it once; then neither writes again.
        await lab.overwrite_bundles(b"")
        await eventually(lambda: _has_certificates(lab, 2))
        await asyncio.sleep(1)
        before = lab.cluster.store.revision
        await asyncio.sleep(3)
        assert lab.cluster.store.revision == before


async def test_both_create_new_certificates_when_the_secret_is_emptied(
    program: Path, lab: Lab, tmp_path: Path
) -> None:
    replica = await lab.replica(policy=POLICY)
    await eventually(lambda: not replica.rotation.not_ready_reason())
    async with running(program, lab, tmp_path):
        await lab.write_secret({})

        async def serves_new_certificate() -> bool:
            # The reference injects its CA before our replica has read the Secret.
            (bundle,) = await lab.bundles()
            with contextlib.suppress(ssl.SSLCertVerificationError):
                await handshake(replica.port, bundle)
                return replica.rotation.rotations > 1
            return False

        await eventually(serves_new_certificate)
        await asyncio.sleep(1)
        before = lab.cluster.store.revision
        await asyncio.sleep(3)
        assert lab.cluster.store.revision == before
        data = await lab.data()
        assert reference.find_outdated(data, lab.clock()) == "nothing"
        (bundle,) = await lab.bundles()
        assert secret_codec.decode_bundle(bundle.encode()) == secret_codec.decode_bundle(
            data["ca.crt"]
        )
        await handshake(replica.port, bundle)


async def _has_certificates(lab: Lab, count: int) -> bool:
    (bundle,) = await lab.bundles()
    return bundle.count("BEGIN CERTIFICATE") == count
