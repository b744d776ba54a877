"""StatefulSets, DaemonSets and CronJobs with pods that run."""

from typing import Any

from tests.kubelet.cluster import NODE, PODS, KubeletCluster, condition, shell

APPS = "/apis/apps/v1/namespaces/default"


def _template(name: str, script: str, **container: Any) -> Any:
    spec = {"terminationGracePeriodSeconds": 0, "containers": [shell(script, **container)]}
    return {"metadata": {"labels": {"app": name}}, "spec": spec}


def _body(kind: str, name: str, template: Any, **spec: Any) -> Any:
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": template, **spec},
    }


def is_ready(pod: Any) -> bool:
    return condition(pod, "Ready") == "True"


async def test_pod_of_a_stateful_set_finds_the_files_of_its_claim_again(
    cluster: KubeletCluster,
) -> None:
    mounts = [{"name": "data", "mountPath": "/data"}]
    script = "cat /data/starts; echo start >> /data/starts; exec sleep 60"
    template = _template("db", script, volumeMounts=mounts)
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    body = _body("StatefulSet", "db", template, replicas=2, volumeClaimTemplates=[claim])
    await cluster.client.create(f"{APPS}/statefulsets", body)
    await cluster.wait_until_exists("db-1")
    first = await cluster.until("db-0", is_ready)
    await cluster.client.delete(f"{PODS}/db-0")
    await cluster.wait_until_exists("db-0", other_than=first["metadata"]["uid"])
    await cluster.until("db-0", is_ready)
    assert await cluster.log("db-0") == "start\n"
    await cluster.until("db-1", is_ready)
    assert await cluster.log("db-1", tailLines="1") != "start\n"


async def test_pod_with_a_claim_that_does_not_exist_waits_for_it(cluster: KubeletCluster) -> None:
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "later"}}
    mounts = [{"name": "data", "mountPath": "/data"}]
    await cluster.run("app", shell("echo done > /data/file", volumeMounts=mounts), volumes=[volume])
    event = await cluster.event("app", "FailedMount")
    assert 'persistentvolumeclaim "later" not found' in event["message"]
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "later"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    await cluster.client.create("/api/v1/namespaces/default/persistentvolumeclaims", claim)
    await cluster.phase("app", "Succeeded")


async def test_daemon_set_runs_its_pod_on_the_node_and_replaces_it(cluster: KubeletCluster) -> None:
    path = f"{APPS}/daemonsets/agent"
    body = _body("DaemonSet", "agent", _template("agent", "exec sleep 60"))
    await cluster.client.create(f"{APPS}/daemonsets", body)
    found = await cluster.until_object(path, lambda each: each["status"].get("numberAvailable"))
    [old] = await cluster.client.list(PODS)
    assert old["spec"]["nodeName"] == NODE
    change = {"spec": {"template": {"metadata": {"annotations": {"new": "yes"}}}}}
    await cluster.client.patch(path, change)
    found = await cluster.until_object(
        path,
        lambda each: (
            each["status"].get("observedGeneration") == 2
            and each["status"].get("updatedNumberScheduled")
            and each["status"].get("numberAvailable")
        ),
    )
    assert found["status"]["desiredNumberScheduled"] == 1
    [new] = await cluster.client.list(PODS)
    assert new["metadata"]["uid"] != old["metadata"]["uid"]


async def test_cron_job_runs_pods(cluster: KubeletCluster) -> None:
    pod = {"restartPolicy": "Never", "containers": [shell("echo tick")]}
    body = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "tick"},
        "spec": {"schedule": "@every 1s", "jobTemplate": {"spec": {"template": {"spec": pod}}}},
    }
    path = "/apis/batch/v1/namespaces/default/cronjobs"
    await cluster.client.create(path, body)
    found = await cluster.until_object(
        f"{path}/tick", lambda each: each["status"].get("lastSuccessfulTime")
    )
    assert found["status"]["lastScheduleTime"]
