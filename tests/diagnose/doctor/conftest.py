"""The clusters in which set-ups are broken: the embedded API server, and a real one."""

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from podpass.kubernetes.client import KubeClient
from tests.diagnose.doctor.lab import Authority, Lab
from tests.kubeling.cluster import ring, serve  # noqa: F401 fixtures

EMBEDDED, REAL = "embedded", "kube-apiserver"
_CLUSTER_IP = "127.96.0.77"  # in plane.SERVICE_ADDRESSES


@pytest.fixture(scope="session")
def webhook_authority() -> Authority:
    return Authority.create()


@pytest.fixture(params=[EMBEDDED, pytest.param(REAL, marks=pytest.mark.kubernetes)])
async def lab(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    webhook_authority: Authority,
    serve: Callable[..., Any],  # noqa: F811 the fixture
) -> AsyncIterator[Lab]:
    """A cluster with a registered webhook, and a namespace of its own for the test."""
    is_real = request.param == REAL
    if is_real:
        kubeconfig = request.getfixturevalue("control_plane").kubeconfig
    else:
        kubeconfig = (await serve()).kubeconfig()
    name = "doctor-" + hashlib.sha256(request.node.name.encode()).hexdigest()[:16]
    async with KubeClient.from_kubeconfig(kubeconfig) as client, AsyncExitStack() as stack:
        made = Lab(
            client=client,
            kubeconfig=kubeconfig,
            folder=tmp_path,
            authority=webhook_authority,
            namespace=name,
            stack=stack,
            cluster_ip=_CLUSTER_IP if is_real else None,
        )
        await made.start()
        yield made
