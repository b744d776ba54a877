"""A webhook process, and API servers to lead it to: of a few lines, or an instance's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.servers.webhook.kubernetes import Kubernetes
from tests.servers.webhook.running import Webhook


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def kubernetes(tmp_path: Path) -> Iterator[Kubernetes]:
    """An API server with one account, `team-0/account-0`; it runs."""
    server = Kubernetes(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def webhook(tmp_path: Path, ca: trustme.CA, kubernetes: Kubernetes) -> Iterator[Webhook]:
    """A webhook that is not started yet, with a certificate to serve."""
    folder = tmp_path / "webhook"
    folder.mkdir()
    made = Webhook(folder, ca, kubernetes.kubeconfig)
    made.write_certificate()
    yield made
    made.stop()
