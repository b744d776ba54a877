"""A served cluster with a kubelet for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from podpass.assertion.keys import KeyRing
from tests.kubernetes.kubelet.cluster import KubeletCluster, serve_cluster


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def ring(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    return KeyRing.open(tmp_path_factory.mktemp("ring"))


@pytest.fixture
async def bare_cluster(
    tmp_path: Path, ca: trustme.CA, ring: KeyRing
) -> AsyncIterator[KubeletCluster]:
    """Yield a cluster without a node."""
    async with serve_cluster(tmp_path, ca, ring) as cluster:
        yield cluster


@pytest.fixture
async def cluster(bare_cluster: KubeletCluster) -> KubeletCluster:
    """Yield a cluster with one node, which rewrites paths."""
    await bare_cluster.start()
    return bare_cluster
