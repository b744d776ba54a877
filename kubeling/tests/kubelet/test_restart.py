"""Processes and pods after the end of the kubelet, of the API server, and of a container."""

import asyncio
import os
import signal
import sys
from functools import partial
from pathlib import Path

from kubeling.kubelet.lifecycle import RestartBackOff
from kubeling.kubelet.process import find_marked
from tests.kubelet.cluster import (
    PODS,
    KubeletCluster,
    Pod,
    condition,
    eventually,
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


async def wait_until_ended(*pids: int) -> None:
    await eventually(lambda: not any(alive(pid) for pid in pids))


async def pids_of(cluster: KubeletCluster, name: str, count: int) -> list[int]:
    """Return the process ids that the program of a pod printed."""

    async def has_output() -> bool:
        return len((await cluster.log(name)).split()) >= count

    await eventually(has_output)
    return [int(word) for word in (await cluster.log(name)).split()]


async def test_stopped_kubelet_leaves_no_processes(bare_cluster: KubeletCluster) -> None:
    async with bare_cluster.running():
        script = (
            f"import os,subprocess,sys,time; p=subprocess.Popen([sys.executable,'-c',{ESCAPE!r}])"
        )
        script += "; print(os.getpid(), p.pid, flush=True); time.sleep(600)"
        await bare_cluster.run(
            "tree", {"name": "app", "image": "n", "command": ["python", "-c", script]}
        )
        await bare_cluster.until("tree", lambda pod: "running" in state(pod))
        pids = await pids_of(bare_cluster, "tree", 2)
        assert all(alive(pid) for pid in pids)
    assert not any(alive(pid) for pid in pids), (
        "both the program and the process that left its session are dead"
    )


async def test_exit_of_a_container_kills_its_descendants(cluster: KubeletCluster) -> None:
    script = f"import os,subprocess,sys; p=subprocess.Popen([sys.executable,'-c',{ESCAPE!r}])"
    script += "; print(p.pid, flush=True)"
    await cluster.run(
        "parent", {"name": "app", "image": "none", "command": ["python", "-c", script]}
    )
    await cluster.phase("parent", "Succeeded")
    await wait_until_ended(*await pids_of(cluster, "parent", 1))


async def test_restarted_kubelet_starts_pods_again(bare_cluster: KubeletCluster) -> None:
    async with bare_cluster.running():
        await bare_cluster.run("always", shell("sleep 600"), restartPolicy="Always")
        await bare_cluster.run("never", shell("sleep 600"))
        await bare_cluster.run("done", shell("echo finished"))
        await bare_cluster.phase("done", "Succeeded")
        for name in ("always", "never"):
            await bare_cluster.until(name, lambda pod: condition(pod, "Ready") == "True")
    async with bare_cluster.running():
        await bare_cluster.until("always", lambda pod: status_of(pod).get("restartCount") == 1)
        await bare_cluster.phase("never", "Failed")
        assert (await bare_cluster.phase("done", "Succeeded"))["status"]["phase"] == "Succeeded"
        assert await bare_cluster.log("done") == "finished\n"


def has_restarted(times: int, pod: Pod) -> bool:
    return condition(pod, "Ready") == "True" and status_of(pod)["restartCount"] == times


async def test_kubelet_stop_does_not_count_as_a_container_crash(
    bare_cluster: KubeletCluster,
) -> None:
    """Fails if a stop counts for the back-off: the second start would wait for ten minutes."""
    never_again = RestartBackOff(first=600, last=6000)
    for restarts in range(3):
        async with bare_cluster.running(restarts=never_again):
            if not restarts:
                await bare_cluster.run("healthy", shell("sleep 600"), restartPolicy="Always")
            pod = await bare_cluster.until("healthy", partial(has_restarted, restarts))
    last = status_of(pod)["lastState"]["terminated"]
    assert last["message"] == "the kubelet stopped while the container ran"
    assert not [e for e in await bare_cluster.events("healthy") if e["reason"] == "BackOff"]


async def test_folders_of_deleted_pods_are_removed_at_start(bare_cluster: KubeletCluster) -> None:
    left = bare_cluster.folder / "pods" / "00000000-0000-4000-8000-000000000000"
    left.mkdir(parents=True)
    async with bare_cluster.running():
        await eventually(lambda: not left.exists())


CLUSTER_PROCESS = """
import asyncio, sys
from pathlib import Path
import trustme
from kubeling.service_account.signer import RsaSigner
from tests.kubelet.cluster import serve_cluster, shell, state, status_of
async def main():
    async with serve_cluster(Path(sys.argv[1]), trustme.CA(), RsaSigner()) as cluster:
        await cluster.start()
        await cluster.run("victim", shell("sh -c 'sleep 601' & sleep 600"))
        pod = await cluster.until("victim", lambda pod: "running" in state(pod))
        print(status_of(pod)["containerID"].removeprefix("kubeling://"), flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""


async def test_kill_9_of_the_kubelet_kills_its_containers(tmp_path: Path) -> None:
    """Fails without the orphan reaper: no other process can kill them."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CLUSTER_PROCESS, str(tmp_path)), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        container_id = (await process.stdout.readline()).decode().strip()
    assert container_id

    async def has_started() -> bool:
        """Return whether the container's program runs: bubblewrap itself has no mark."""
        return bool(list(find_marked("KUBELING_CONTAINER", container_id)))

    await eventually(has_started)
    pids = list(find_marked("KUBELING_CONTAINER", container_id))
    process.send_signal(signal.SIGKILL)
    await process.wait()
    await wait_until_ended(*pids)


async def test_restarted_kubelet_kills_orphaned_processes(bare_cluster: KubeletCluster) -> None:
    """The orphan reaper may have been killed too; then the next start of the kubelet kills them."""
    async with bare_cluster.running():
        await bare_cluster.run("known", shell("env; sleep 600"))
        await bare_cluster.until("known", lambda pod: "running" in state(pod))

        async def has_output() -> bool:
            return "KUBELING_RUNTIME=" in await bare_cluster.log("known")

        await eventually(has_output)
        text = await bare_cluster.log("known")
    mark = text.partition("KUBELING_RUNTIME=")[2].split()[0]
    orphan = await asyncio.create_subprocess_exec(
        "sleep", "600", env={**os.environ, "KUBELING_RUNTIME": mark}
    )
    async with bare_cluster.running():
        assert await asyncio.wait_for(orphan.wait(), 30) == -signal.SIGKILL


async def test_containers_run_while_the_api_server_is_unavailable(cluster: KubeletCluster) -> None:
    """Containers continue to run, and their changes are reported when the API server is back."""
    await cluster.run("steady", shell("echo up; sleep 600"), terminationGracePeriodSeconds=0)
    await cluster.run("brief", shell("sleep 0.5; exit 5"))
    await cluster.until("steady", lambda pod: condition(pod, "Ready") == "True")
    await cluster.until("brief", lambda pod: condition(pod, "Ready") == "True")
    async with cluster.disconnected():
        await asyncio.sleep(1)
    assert state(await cluster.phase("brief", "Failed"))["terminated"]["exitCode"] == 5
    assert status_of(await cluster.get("steady"))["restartCount"] == 0
    await cluster.run("later", shell("true"))
    await cluster.phase("later", "Succeeded")


async def test_pod_deleted_without_grace_period_is_killed(cluster: KubeletCluster) -> None:
    pod = await cluster.run("gone", shell("sleep 600"))
    await cluster.until("gone", lambda pod: condition(pod, "Ready") == "True")
    container = status_of(await cluster.get("gone"))["containerID"].removeprefix("kubeling://")
    await cluster.client.delete(f"{PODS}/gone", {"gracePeriodSeconds": 0})
    await eventually(lambda: not list(find_marked("KUBELING_CONTAINER", container)))
    await eventually(lambda: not (cluster.folder / "pods" / pod["metadata"]["uid"]).exists())
