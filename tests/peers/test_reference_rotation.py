"""The reference's own binary beside a replica of ours, on one Secret and one configuration."""

import asyncio
import base64
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from bench.peers.build import CannotBuild, built
from podpass.admission.certificates import Plan, secret_codec
from podpass.admission.certificates.x509 import RsaMaker
from tests.admission.certificates import reference
from tests.admission.certificates.conftest import bare, ca, lab, ring
from tests.admission.certificates.lab import HOST, NAMESPACE, Lab, handshake, until

__all__ = ["bare", "ca", "lab", "ring"]  # fixtures

pytestmark = [pytest.mark.peers, pytest.mark.timeout(1200)]
PLAN = Plan(lag_seconds=0.4, linger_seconds=600, check_seconds=0.2)
PORT = 9443  # the reference listens nowhere else


@pytest.fixture(scope="module")
def program() -> Path:
    try:
        program = built("azwi-webhook")
    except CannotBuild as exc:
        pytest.skip(f"the reference's webhook: {exc}")
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", PORT)) == 0:
            pytest.skip(f"the reference's webhook: another program listens on {PORT}")
    return program


@asynccontextmanager
async def running(program: Path, lab: Lab, folder: Path) -> AsyncIterator[None]:
    """Run the reference's webhook on what is in the Secret, as the kubelet would have mounted it."""
    (certificates := folder / "certificates").mkdir()
    for name, content in (await lab.data()).items():
        (certificates / name).write_bytes(content)
    authority = base64.b64encode((folder / "ca.pem").read_bytes()).decode()
    named = {"name": "it"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "contexts": [{**named, "context": {"cluster": "it", "user": "it"}}],
        "clusters": [
            {**named, "cluster": {"server": lab.server, "certificate-authority-data": authority}}
        ],
        "users": [{**named, "user": {"token": "admin-token"}}],
    }
    (kubeconfig := folder / "kubeconfig").write_text(yaml.safe_dump(config))
    with (folder / "log").open("w") as log:
        process = await asyncio.create_subprocess_exec(
            str(program),
            f"--kubeconfig={kubeconfig}",
            f"--webhook-cert-dir={certificates}",
            "--health-addr=127.0.0.1:0",
            "--metrics-addr=127.0.0.1:0",
            "--log-level=all",
            env={"AZURE_TENANT_ID": "tenant", "POD_NAMESPACE": NAMESPACE},
            stdout=log,
            stderr=log,
        )
        try:
            await until(lambda: "are injected" in (folder / "log").read_text(), 90)
            yield
        finally:
            process.terminate()
            await process.wait()


async def test_it_keeps_our_secret_in_the_middle_of_a_rotation(
    program: Path, lab: Lab, tmp_path: Path
) -> None:
    replica = await lab.replica(plan=PLAN)
    await until(lambda: not replica.rotation.trouble())
    data = await lab.data()
    lingering = RsaMaker(host=HOST, now=lab.clock(), plan=PLAN).authority().certificate
    await lab.fill(data := {**data, "ca.crt": data["ca.crt"] + lingering})
    await until(lambda: _carried(lab, 2))
    before = lab.cluster.store.revision
    async with running(program, lab, tmp_path):
        await asyncio.sleep(3)
        assert await lab.data() == data
        assert lab.cluster.store.revision == before, "neither wrote anything"
        # Both repair it, and then neither writes any more.
        await lab.overwrite(b"")
        await until(lambda: _carried(lab, 2))
        await asyncio.sleep(1)
        before = lab.cluster.store.revision
        await asyncio.sleep(3)
        assert lab.cluster.store.revision == before


async def test_both_begin_anew_together_when_the_secret_is_emptied(
    program: Path, lab: Lab, tmp_path: Path
) -> None:
    replica = await lab.replica(plan=PLAN)
    await until(lambda: not replica.rotation.trouble())
    async with running(program, lab, tmp_path):
        await lab.fill({})

        async def served_anew() -> bool:
            # The reference injects its CA before our replica can have read the Secret behind it.
            (bundle,) = await lab.bundles()
            with contextlib.suppress(ssl.SSLCertVerificationError):
                await handshake(replica.port, bundle)
                return replica.rotation.rotations > 1
            return False

        await until(served_anew)
        await asyncio.sleep(1)
        before = lab.cluster.store.revision
        await asyncio.sleep(3)
        assert lab.cluster.store.revision == before
        data = await lab.data()
        assert reference.keeps(data, lab.clock()) == "nothing"
        (bundle,) = await lab.bundles()
        assert secret_codec.authorities(bundle.encode()) == secret_codec.authorities(data["ca.crt"])
        await handshake(replica.port, bundle)


async def _carried(lab: Lab, count: int) -> bool:
    (bundle,) = await lab.bundles()
    return bundle.count("BEGIN CERTIFICATE") == count
