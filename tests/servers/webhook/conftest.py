"""A webhook process, and a small API server for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.servers.webhook.kubernetes import Kubernetes
from tests.servers.webhook.running import Webhook


@pytest.fixture
def kubernetes(tmp_path: Path) -> Iterator[Kubernetes]:
    """Provide a running API server with one account, `team-0/account-0`."""
    server = Kubernetes(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def webhook(tmp_path: Path, ca: trustme.CA, kubernetes: Kubernetes) -> Iterator[Webhook]:
    """Provide a webhook with a certificate; it is not started yet."""
    folder = tmp_path / "webhook"
    folder.mkdir()
    made = Webhook(folder, ca, kubernetes.kubeconfig)
    made.write_certificate()
    yield made
    made.stop()
