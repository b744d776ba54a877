"""An embedded cluster, and a client of its administrator, for all tests of the folder."""

from collections.abc import AsyncIterator

import pytest

from podpass.kubernetes.client import KubeClient
from tests.kubeling.cluster import Live, live, ring, serve

__all__ = ["live", "ring", "serve"]


@pytest.fixture
async def admin(live: Live) -> AsyncIterator[KubeClient]:
    async with KubeClient.from_kubeconfig(live.kubeconfig()) as client:
        yield client
