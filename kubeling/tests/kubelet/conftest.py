"""A served cluster with a kubelet for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from kubeling.service_account.signer import RsaSigner
from tests.kubelet.cluster import KubeletCluster, serve_cluster


@pytest.fixture
async def bare_cluster(
    tmp_path: Path, ca: trustme.CA, signer: RsaSigner
) -> AsyncIterator[KubeletCluster]:
    """Yield a cluster without a node."""
    async with serve_cluster(tmp_path, ca, signer) as cluster:
        yield cluster


@pytest.fixture
async def cluster(bare_cluster: KubeletCluster) -> KubeletCluster:
    """Yield a cluster with one node, which rewrites paths."""
    await bare_cluster.start()
    return bare_cluster
