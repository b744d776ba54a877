"""`podpass drift`, the token service's guide and streams to containers, with a real API server."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from podpass import names
from tests.control_plane.plane import PlaneThread, running
from tests.diagnose.drift.rollouts import Rollouts, check_restart, workload
from tests.journey.instance import CLIENT, Instance
from tests.lab.instance import kubectl_streams as streams
from tests.lab.instance.kubectl import Kubectl, binaries
from tests.servers.authority.guide import check_result, reading

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(300)]


@pytest.fixture
async def rollouts(
    real_instance: Instance, request: pytest.FixtureRequest
) -> AsyncIterator[Rollouts]:
    made = Rollouts(
        Path(real_instance.status["kubernetes"]["kubeconfig"]),
        request.node.name.removeprefix("test_").replace("_", "-"),
    )
    yield made
    await made.delete()


async def test_pods_that_differ_are_restarted(real_instance: Instance, rollouts: Rollouts) -> None:
    await check_restart(
        rollouts, lambda *words: real_instance.podpass("drift", *words, check=False), CLIENT
    )


async def test_stateful_sets_and_daemon_sets_are_restarted(
    real_instance: Instance, rollouts: Rollouts
) -> None:
    objects = [workload("StatefulSet", "set", replicas=1, serviceName="set")]
    objects.append(workload("DaemonSet", "daemon"))
    await rollouts.create(*objects, client_id=CLIENT)
    for account in ("set", "daemon"):
        await rollouts.annotate(account, tenant_id="t")
    before = await rollouts.pods()
    done = real_instance.podpass("drift", rollouts.namespace, "--restart", "-o", "json")
    restarts = json.loads(done.stdout)["restarts"]
    assert {each["kind"]: each["result"] for each in restarts} == {
        "DaemonSet": "restarted",
        "StatefulSet": "restarted",
    }
    after = await rollouts.pods()
    assert {each[names.ENV_TENANT_ID] for each in after.values()} == {"t"}
    assert len(after) == len(before) == 2


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


# The default of an API server without this flag, at an address that does not answer.
OF_NODE = "https://192.0.2.10:6443/openid/v1/jwks"
CREATED = "kubectl get -n default configmap/kube-root-ca.crt serviceaccount/default"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlaneThread]:
    flag = f"--service-account-jwks-uri={OF_NODE}"
    with running(tmp_path_factory.mktemp("plane"), [flag]) as plane:
        yield plane


def test_commands_of_guide_succeed_on_a_real_api_server(plane: PlaneThread, tmp_path: Path) -> None:
    with reading(tmp_path, plane.kubeconfig) as reader:
        reader.type_until(CREATED)
        assert OF_NODE in reader.type("kubectl get --raw /.well-known/openid-configuration\n")
        check_result(reader, reader.follow())
