"""What survives, and what must not: the end of the runtime, of the API server, of a container's parent."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from podpass.kubernetes.kubelet.process import find_marked
from tests.kubernetes.kubelet.cluster import (
    PODS,
    Lab,
    condition,
    eventually,
    programs,
    shell,
    state,
    status_of,
)

ESCAPE = "import os,time; os.setsid(); time.sleep(600)"


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


async def ended(*pids: int) -> None:
    await eventually(lambda: not any(alive(pid) for pid in pids))


async def pids_of(lab: Lab, name: str, count: int) -> list[int]:
    """Read the process ids that a pod's program printed."""

    async def printed() -> bool:
        return len((await lab.log(name)).split()) >= count

    await eventually(printed)
    return [int(word) for word in (await lab.log(name)).split()]


async def test_stopped_kubelet_leaves_no_processes(cluster: Lab) -> None:
    async with cluster.running():
        script = (
            f"import os,subprocess,sys,time; p=subprocess.Popen([sys.executable,'-c',{ESCAPE!r}])"
        )
        script += "; print(os.getpid(), p.pid, flush=True); time.sleep(600)"
        await cluster.run(
            "tree", {"name": "app", "image": "n", "command": ["python", "-c", script]}
        )
        await cluster.until("tree", lambda pod: "running" in state(pod))
        pids = await pids_of(cluster, "tree", 2)
        assert all(alive(pid) for pid in pids)
    assert not any(alive(pid) for pid in pids), "neither the program nor what left its session"


async def test_exit_of_a_container_kills_its_descendants(lab: Lab) -> None:
    script = f"import os,subprocess,sys; p=subprocess.Popen([sys.executable,'-c',{ESCAPE!r}])"
    script += "; print(p.pid, flush=True)"
    await lab.run("parent", {"name": "app", "image": "none", "command": ["python", "-c", script]})
    await lab.phase("parent", "Succeeded")
    await ended(*await pids_of(lab, "parent", 1))


async def test_restarted_kubelet_starts_pods_again(cluster: Lab) -> None:
    async with cluster.running():
        await cluster.run("always", shell("sleep 600"), restartPolicy="Always")
        await cluster.run("never", shell("sleep 600"))
        await cluster.run("done", shell("echo kept"))
        await cluster.phase("done", "Succeeded")
        for name in ("always", "never"):
            await cluster.until(name, lambda pod: condition(pod, "Ready") == "True")
    async with cluster.running():
        await cluster.until("always", lambda pod: status_of(pod).get("restartCount") == 1)
        await cluster.phase("never", "Failed")
        assert (await cluster.phase("done", "Succeeded"))["status"]["phase"] == "Succeeded"
        assert await cluster.log("done") == "kept\n"


async def test_folders_of_deleted_pods_are_removed_at_start(cluster: Lab) -> None:
    left = cluster.folder / "pods" / "00000000-0000-4000-8000-000000000000"
    left.mkdir(parents=True)
    async with cluster.running():
        await eventually(lambda: not left.exists())


LIFE = """
import asyncio, sys
from pathlib import Path
from podpass.kubernetes.kubelet.kubelet import Runtime, RuntimeConfig
from podpass.local.image_source import InstanceImages
from podpass.local.samples.cache import SampleCache
async def main():
    none = Path(sys.argv[2]) / "none"
    images = InstanceImages(none, SampleCache(none, sys.argv[3]))
    config = RuntimeConfig(kubeconfig=Path(sys.argv[1]), node_name="test-node", folder=Path(sys.argv[2]),
        images=images, environment={}, path=sys.argv[3])
    async with Runtime(config):
        await asyncio.sleep(600)
asyncio.run(main())
"""


async def test_kill_9_of_the_kubelet_kills_its_containers(cluster: Lab) -> None:
    """Fails without the guard process: nobody else is left to end them."""
    config = cluster.config()
    life = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LIFE),
        *(str(config.kubeconfig), str(config.folder), programs(cluster.folder)),
    )
    await cluster.run("victim", shell("sh -c 'sleep 601' & sleep 600"))
    pod = await cluster.until("victim", lambda pod: "running" in state(pod))
    container_id = status_of(pod)["containerID"].removeprefix("podpass://")
    pids = list(find_marked("PODPASS_CONTAINER", container_id))
    assert pids
    life.send_signal(signal.SIGKILL)
    await life.wait()
    await ended(*pids)


async def test_restarted_kubelet_kills_orphaned_processes(cluster: Lab) -> None:
    """The guard may have been killed as well; then the next start is the last chance."""
    async with cluster.running():
        await cluster.run("known", shell("env; sleep 600"))
        await cluster.until("known", lambda pod: "running" in state(pod))

        async def printed() -> bool:
            return "PODPASS_RUNTIME=" in await cluster.log("known")

        await eventually(printed)
        text = await cluster.log("known")
    mark = text.partition("PODPASS_RUNTIME=")[2].split()[0]
    stray = await asyncio.create_subprocess_exec(
        "sleep", "600", env={**os.environ, "PODPASS_RUNTIME": mark}
    )
    async with cluster.running():
        assert await asyncio.wait_for(stray.wait(), 5) == -signal.SIGKILL


async def test_containers_run_while_the_api_server_is_unavailable(lab: Lab) -> None:
    """Containers run on, and what happened meanwhile is told when the API server is back."""
    await lab.run("steady", shell("echo up; sleep 600"), terminationGracePeriodSeconds=0)
    await lab.run("brief", shell("sleep 0.5; exit 5"))
    await lab.until("steady", lambda pod: condition(pod, "Ready") == "True")
    await lab.until("brief", lambda pod: condition(pod, "Ready") == "True")
    async with lab.interrupted():
        await asyncio.sleep(1)
    assert state(await lab.phase("brief", "Failed"))["terminated"]["exitCode"] == 5
    assert status_of(await lab.get("steady"))["restartCount"] == 0
    await lab.run("later", shell("true"))
    await lab.phase("later", "Succeeded")


async def test_pod_deleted_without_grace_period_is_killed(lab: Lab) -> None:
    pod = await lab.run("gone", shell("sleep 600"))
    await lab.until("gone", lambda pod: condition(pod, "Ready") == "True")
    container = status_of(await lab.get("gone"))["containerID"].removeprefix("podpass://")
    await lab.client.delete(f"{PODS}/gone", {"gracePeriodSeconds": 0})
    await eventually(lambda: not list(find_marked("PODPASS_CONTAINER", container)))
    await eventually(lambda: not (lab.folder / "pods" / pod["metadata"]["uid"]).exists())
