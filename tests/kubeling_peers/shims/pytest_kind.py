"""Stands for the pytest plugin pytest-kind: the cluster of KUBECONFIG in place of one that Docker runs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any


class KindCluster:
    """Has the attributes of pytest-kind's class that kr8s' tests use."""

    def __init__(self, name: str, image: str | None = None) -> None:
        del name, image
        self.kubeconfig_path = Path(os.environ["KUBECONFIG"])
        self.kubectl_path = shutil.which("kubectl")

    def create(self) -> None:
        """Start a pod in kube-system, in which kind's own cluster has several."""
        pod = ("run", "pause", "-n", "kube-system", "--image=gcr.io/google_containers/pause")
        self.kubectl(*pod)

    def kubectl(self, *words: str) -> str:
        """Run kubectl; return its stdout."""
        return subprocess.run(
            ["kubectl", *words], check=True, capture_output=True, text=True
        ).stdout


def pytest_addoption(parser: Any) -> None:
    """Add the option that kr8s' conftest.py reads; the caller deletes the cluster."""
    parser.addoption("--keep-cluster", action="store_true", default=True)


cluster = sys.modules["pytest_kind.cluster"] = sys.modules[__name__]
