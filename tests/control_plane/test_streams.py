"""Streams to the containers of this kubelet through the real API server, which speaks SPDY to it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journey.instance import Instance
from tests.lab.instance import kubectl_streams as streams
from tests.lab.instance.kubectl import Kubectl, binaries

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(300)]


@pytest.fixture(params=["websocket", "spdy"])
def kubectl(request: pytest.FixtureRequest, real_instance: Instance, tmp_path: Path) -> Kubectl:
    found = binaries()
    kubeconfig = Path(real_instance.status["kubernetes"]["kubeconfig"])
    made = Kubectl(
        binary=found["package"] or found["machine"], kubeconfig=kubeconfig, home=tmp_path
    )
    return streams.with_spdy(made) if request.param == "spdy" else made


@pytest.fixture
def pod(kubectl: Kubectl) -> Iterator[str]:
    kubectl("apply", "-f", "-", given=json.dumps(streams.pod_manifest("streams")))
    kubectl("wait", "--for=condition=Ready", "pod/streams", "--timeout=60s")
    yield "streams"
    kubectl("delete", "pod", "streams")


def test_exec_cp_port_forward_and_attach_work_through_the_real_api_server(
    kubectl: Kubectl, pod: str, tmp_path: Path
) -> None:
    streams.check_commands(kubectl, pod)
    streams.check_copies(kubectl, pod, tmp_path)
    streams.check_forwarding(kubectl, pod)
    streams.check_terminal(kubectl, "exec", "-it", pod, "--", "sh")
    streams.check_attached_input(kubectl, "streams-run")
