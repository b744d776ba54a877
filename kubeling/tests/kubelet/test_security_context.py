"""The user of a container: what is asked for, what the sandbox gives, and what the Event says otherwise."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from kubeling.kubelet.security_context import (
    ContainerSecurity,
    RunAs,
    breaks_non_root_policy,
    read_security,
)
from tests.kubelet.cluster import KubeletCluster, programs, shell, state

ROOT, OTHER = RunAs(0, 0), RunAs(1000, 1000)
NON_ROOT = {"runAsNonRoot": True}
needs_bubblewrap = pytest.mark.skipif(
    shutil.which("bwrap") is None, reason="bubblewrap is not installed"
)


def asked(own: RunAs, *, pod: Any = None, container: Any = None) -> ContainerSecurity:
    item = {"metadata": {"name": "p"}, "spec": {"securityContext": pod}}
    return read_security(item, {"name": "c", "securityContext": container}, own)


@pytest.mark.parametrize(
    ("own", "pod", "container", "result"),
    [
        (ROOT, None, None, None),
        (ROOT, {"runAsUser": 5, "runAsGroup": 6}, None, RunAs(5, 6)),
        (ROOT, {"runAsUser": 5}, {"runAsUser": 7}, RunAs(7, 0)),
        (ROOT, {"runAsUser": 5}, {"runAsUser": None}, RunAs(5, 0)),
        (ROOT, {"runAsUser": 0}, None, None),
        (ROOT, {"runAsGroup": 9}, None, RunAs(0, 9)),
        (ROOT, NON_ROOT, None, RunAs(65532, 65532)),
        (ROOT, NON_ROOT, {"runAsUser": 5}, RunAs(5, 0)),
        (OTHER, NON_ROOT, None, None),
        (OTHER, {"runAsUser": 1000}, None, None),
        (OTHER, {"runAsUser": 1000, "runAsGroup": 5}, None, RunAs(1000, 5)),
        (OTHER, {"runAsUser": 0}, None, RunAs(0, 0)),
    ],
)
def test_container_context_takes_precedence_over_the_pods(
    own: RunAs, pod: Any, container: Any, result: RunAs | None
) -> None:
    assert asked(own, pod=pod, container=container).run_as == result


def test_root_is_refused_where_non_root_is_required() -> None:
    pod = {"spec": {"securityContext": NON_ROOT}}
    assert breaks_non_root_policy(pod, {"securityContext": {"runAsUser": 0}})
    assert not breaks_non_root_policy(pod, {"securityContext": {"runAsUser": 1}})
    assert not breaks_non_root_policy({"spec": {}}, {"securityContext": {"runAsUser": 0}})


@pytest.mark.parametrize(
    ("context", "has", "lacks"),
    [
        ({}, "CHOWN", "SYS_ADMIN"),
        ({"capabilities": {"add": ["NET_ADMIN"], "drop": ["CHOWN"]}}, "NET_ADMIN", "CHOWN"),
        ({"capabilities": {"drop": ["ALL"]}}, "NET_BIND_SERVICE", "CHOWN"),
        (
            {"capabilities": {"add": ["ALL", "NONE"], "drop": ["CAP_SYS_ADMIN"]}},
            "NET_ADMIN",
            "SYS_ADMIN",
        ),
    ],
)
def test_container_of_root_has_the_capabilities_of_a_container(
    context: Any, has: str, lacks: str
) -> None:
    found = asked(ROOT, container=context).capabilities
    assert found is not None
    assert has in found
    assert not {lacks, "NONE"} & set(found)


@pytest.mark.parametrize(
    ("own", "context"),
    [(OTHER, {}), (ROOT, {"privileged": True}), (ROOT, {"runAsUser": 5})],
)
def test_other_containers_keep_their_capabilities(own: RunAs, context: Any) -> None:
    assert asked(own, container=context).capabilities is None


@pytest.mark.parametrize(
    "context", [{"privileged": True}, {"capabilities": {"add": ["NET_ADMIN"]}}]
)
def test_pod_cannot_give_its_containers_capabilities(context: Any) -> None:
    """The network of a pod is chosen by what its containers ask for."""
    found = asked(ROOT, pod=context).capabilities
    assert found is not None
    assert "NET_ADMIN" not in found


async def test_root_in_a_non_root_pod_is_a_config_error(cluster: KubeletCluster) -> None:
    await cluster.run("p", shell("true"), securityContext={"runAsNonRoot": True, "runAsUser": 0})
    pod = await cluster.until("p", lambda pod: "reason" in state(pod).get("waiting", {}))
    assert state(pod)["waiting"]["reason"] == "CreateContainerConfigError"
    assert "breaks non-root policy" in (await cluster.event("p", "Failed"))["message"]


async def test_security_context_that_the_sandbox_cannot_apply_gets_an_event(
    cluster: KubeletCluster,
) -> None:
    container = shell("true", securityContext={"readOnlyRootFilesystem": True})
    await cluster.run("p", container, securityContext={"runAsUser": 12345})
    event = await cluster.event("p", "SecurityContextIgnored")
    assert event["type"] == "Warning"
    assert f"runs as user {os.geteuid()} of this machine" in event["message"]
    assert "runAsUser and readOnlyRootFilesystem" in event["message"]


@needs_bubblewrap
async def test_process_and_its_probes_see_the_user_and_may_write_volumes(
    bare_cluster: KubeletCluster,
) -> None:
    path = programs(bare_cluster.folder, "bwrap", "id", "grep")
    kubelet = await bare_cluster.start(path=path)
    if not kubelet.has_users:
        pytest.skip("this machine does not allow user namespaces")
    command = ["sh", "-c", "id -u > /data/probe; id -u"]
    await bare_cluster.run(
        "p",
        shell(
            "id -u; id -g; echo x > /data/x; cat /data/x; grep CapEff /proc/self/status;"
            " while ! test -s /data/probe; do sleep 0.1; done; cat /data/probe",
            volumeMounts=[{"name": "data", "mountPath": "/data"}],
            livenessProbe={"exec": {"command": command}, "periodSeconds": 1},
        ),
        securityContext={"runAsUser": 12345, "runAsGroup": 54321},
        volumes=[{"name": "data", "emptyDir": {}}],
    )
    await bare_cluster.phase("p", "Succeeded")
    lines = (await bare_cluster.log("p")).split()
    assert lines == ["12345", "54321", "x", "CapEff:", "0" * 16, "12345"]


@needs_bubblewrap
async def test_read_only_root_leaves_volumes_and_devices_writable(
    bare_cluster: KubeletCluster,
) -> None:
    await bare_cluster.start(path=programs(bare_cluster.folder, "bwrap", "touch"))
    outside = Path(__file__).with_name("written-by-a-pod")
    script = (
        "touch /data/x && echo volume; echo x > /dev/null && echo device;"
        f" touch {outside} || echo read-only; touch /new || echo read-only;"
        " echo x > /dev/termination-log && echo message"
    )
    for mount_path in ("/data", "/srv"):
        name = mount_path[1:]
        await bare_cluster.run(
            name,
            shell(
                script.replace("/data", mount_path),
                volumeMounts=[{"name": "data", "mountPath": mount_path}],
                securityContext={"readOnlyRootFilesystem": True},
            ),
            volumes=[{"name": "data", "emptyDir": {}}],
        )
        await bare_cluster.phase(name, "Succeeded")
        lines = (await bare_cluster.log(name)).splitlines()
        expected = ["volume", "device", "read-only", "read-only", "message"]
        assert [line for line in lines if "touch" not in line] == expected
    assert not outside.exists()


@needs_bubblewrap
@pytest.mark.skipif(os.geteuid() != 0, reason="only root has capabilities")
async def test_container_of_root_cannot_mount(bare_cluster: KubeletCluster) -> None:
    await bare_cluster.start(path=programs(bare_cluster.folder, "bwrap", "grep", "nsenter"))
    script = "grep CapEff /proc/self/status"
    await bare_cluster.run("usual", shell(script))
    await bare_cluster.run("privileged", shell(script, securityContext={"privileged": True}))
    found = {}
    for name in ("usual", "privileged"):
        await bare_cluster.phase(name, "Succeeded")
        found[name] = int((await bare_cluster.log(name)).split()[1], 16)
    sys_admin = 1 << 21
    assert not found["usual"] & sys_admin
    assert found["privileged"] & sys_admin
