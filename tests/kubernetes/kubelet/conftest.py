"""A live cluster with a runtime, for each test its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from podpass.assertion.keys import KeyRing
from tests.kubernetes.kubelet.cluster import Lab, laboratory


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def ring(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    return KeyRing.open(tmp_path_factory.mktemp("ring"))


@pytest.fixture
async def cluster(tmp_path: Path, ca: trustme.CA, ring: KeyRing) -> AsyncIterator[Lab]:
    """A cluster without a node."""
    async with laboratory(tmp_path, ca, ring) as lab:
        yield lab


@pytest.fixture
async def lab(cluster: Lab) -> Lab:
    """A cluster with a node, on which paths are rewritten."""
    await cluster.start()
    return cluster
