"""A container that a signal stops, such as SIGSTOP: no probe of it may notice."""

import os
import shutil
import signal

import pytest

from kubeling.kubelet import container_run
from tests.kubelet.cluster import KubeletCluster, condition, eventually, programs, shell


@pytest.mark.parametrize("sandbox", ["rewrite", "bwrap"])
async def test_stopped_container_is_not_ready_until_it_continues(
    bare_cluster: KubeletCluster, monkeypatch: pytest.MonkeyPatch, sandbox: str
) -> None:
    if sandbox == "bwrap" and shutil.which(sandbox) is None:
        pytest.skip("bubblewrap is not installed")
    monkeypatch.setattr(container_run, "_CHECK_SECONDS", 0.2)
    found = ["sleep"] if sandbox == "rewrite" else ["sleep", "bwrap"]
    kubelet = await bare_cluster.start(path=programs(bare_cluster.folder, *found))
    await bare_cluster.run("p", shell("echo $$$$; exec sleep 600"))
    await bare_cluster.until("p", lambda pod: condition(pod, "Ready") == "True")

    async def has_output() -> bool:
        return bool(await bare_cluster.log("p"))

    await eventually(has_output)
    pid = int(await bare_cluster.log("p"))
    assert kubelet.stopped_containers() == []
    os.kill(pid, signal.SIGSTOP)
    await bare_cluster.until("p", lambda pod: condition(pod, "Ready") == "False")
    assert kubelet.stopped_containers() == [f"default/p: app (process {pid})"]
    event = await bare_cluster.event("p", "ProcessStopped")
    assert event["type"] == "Warning"
    assert event["message"].endswith(f"Continue it: kill -CONT {pid}")
    os.kill(pid, signal.SIGCONT)
    await bare_cluster.until("p", lambda pod: condition(pod, "Ready") == "True")
    assert kubelet.stopped_containers() == []
