"""The kubectl of the machine and that of the package, on the shared instance."""

from pathlib import Path

import pytest

from tests.lab.instance.instances import Podpass
from tests.lab.instance.kubectl import Kubectl, binaries


@pytest.fixture(params=["machine", "package"])
def kubectl(request: pytest.FixtureRequest, running: Podpass, tmp_path: Path) -> Kubectl:
    """Return a kubectl with administrator permissions."""
    binary = binaries()[request.param]
    if not binary:
        pytest.skip(f"no kubectl of the {request.param} is here")
    kubeconfig = Path(running.status()["kubernetes"]["kubeconfig"])
    return Kubectl(binary=binary, kubeconfig=kubeconfig, home=tmp_path)
