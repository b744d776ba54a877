"""Pods from the API to processes, as a cluster user sees them."""

import asyncio
import shutil
import sys
from ipaddress import ip_address
from typing import Any

import pytest

from kubeling.api import STRATEGIC_PATCH, ApiError
from kubeling.kubelet.pod_addresses import NETWORK
from tests import process_reaper
from tests.kubelet.cluster import (
    NODE,
    PODS,
    KubeletCluster,
    condition,
    eventually,
    programs,
    shell,
    state,
    status_of,
)


async def test_a_pod_runs_and_its_log_can_be_read(cluster: KubeletCluster) -> None:
    await cluster.run("hello", shell("echo hello; echo oops >&2"))
    pod = await cluster.phase("hello", "Succeeded", "Failed")
    assert pod["status"]["phase"] == "Succeeded"
    assert pod["spec"]["nodeName"] == NODE
    assert state(pod)["terminated"]["exitCode"] == 0
    assert sorted((await cluster.log("hello")).splitlines()) == ["hello", "oops"]


@pytest.mark.skipif(sys.platform != "linux", reason="the reaper needs Linux")
async def test_container_environment_contains_the_mark_of_the_test_run(
    cluster: KubeletCluster,
) -> None:
    """A container has an environment of its own, and the reaper of the run finds processes by the mark."""
    await cluster.run("marked", shell("env"))
    await cluster.phase("marked", "Succeeded")
    [entry] = [f"{name}={value}" for name, value in process_reaper.run_mark().items()]
    assert entry in (await cluster.log("marked")).splitlines()


async def test_a_running_pod_is_ready_and_its_log_can_be_followed(cluster: KubeletCluster) -> None:
    await cluster.run("web", shell("echo first; sleep 1; echo second"))
    pod = await cluster.until("web", lambda pod: condition(pod, "Ready") == "True")
    assert pod["status"]["phase"] == "Running"
    assert ip_address(pod["status"]["podIP"]) in NETWORK
    assert (status_of(pod)["ready"], status_of(pod)["started"]) == (True, True)
    assert (await cluster.log("web", follow="true")).splitlines() == ["first", "second"]


async def test_readiness_overwritten_by_a_node_controller_is_reported_again(
    cluster: KubeletCluster,
) -> None:
    await cluster.run("web", shell("sleep 60"))
    await cluster.until("web", lambda pod: condition(pod, "Ready") == "True")
    lost = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    path = f"{PODS}/web/status"
    patched = await cluster.client.patch(path, lost, STRATEGIC_PATCH)
    assert condition(patched, "Ready") == "False"
    await cluster.until("web", lambda pod: condition(pod, "Ready") == "True")


async def test_the_exit_code_of_a_failed_pod_is_shown(cluster: KubeletCluster) -> None:
    await cluster.run("bad", shell("exit 3"))
    pod = await cluster.phase("bad", "Failed")
    assert state(pod)["terminated"] | {"reason": "Error", "exitCode": 3} == state(pod)["terminated"]


async def test_exit_code_of_a_signal_is_128_plus_its_number(cluster: KubeletCluster) -> None:
    await cluster.run("bad", shell("kill -9 $$$$"))
    assert state(await cluster.phase("bad", "Failed"))["terminated"]["exitCode"] == 137


async def test_restart_policy_always_restarts_with_backoff(cluster: KubeletCluster) -> None:
    await cluster.run("loop", shell("echo run; exit 1"), restartPolicy="Always")
    pod = await cluster.until("loop", lambda pod: status_of(pod).get("restartCount", 0) >= 3)
    assert pod["status"]["phase"] == "Running"
    assert status_of(pod)["lastState"]["terminated"]["exitCode"] == 1
    pod = await cluster.until("loop", lambda pod: "waiting" in state(pod))
    assert state(pod)["waiting"]["reason"] == "CrashLoopBackOff"
    assert "restarting failed container=app pod=loop_default" in state(pod)["waiting"]["message"]
    assert (await cluster.event("loop", "BackOff"))["type"] == "Warning"
    assert await cluster.log("loop", previous="true") == "run\n"


async def test_restart_policy_on_failure_ends_after_a_success(cluster: KubeletCluster) -> None:
    script = 'test -e "$HOME/done" && exit 0; echo > "$HOME/done"; exit 1'
    await cluster.run("retry", shell(script), restartPolicy="OnFailure")
    pod = await cluster.phase("retry", "Succeeded")
    assert status_of(pod)["restartCount"] == 1


async def test_init_containers_run_in_order_before_main_containers(cluster: KubeletCluster) -> None:
    volume = {"name": "shared", "emptyDir": {}}
    mount: dict[str, Any] = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    await cluster.run(
        "ordered",
        shell("cat /shared/order", **mount),
        initContainers=[
            shell("sleep 0.2; echo one >> /shared/order", "first", **mount),
            shell("echo two >> /shared/order", "second", **mount),
        ],
        volumes=[volume],
    )
    pod = await cluster.phase("ordered", "Succeeded", "Failed")
    assert await cluster.log("ordered") == "one\ntwo\n"
    assert [status_of(pod, name)["ready"] for name in ("first", "second")] == [True, True]


async def test_failed_init_container_fails_a_pod_with_restart_policy_never(
    cluster: KubeletCluster,
) -> None:
    await cluster.run("stuck", shell("echo never"), initContainers=[shell("exit 7", "init")])
    pod = await cluster.phase("stuck", "Failed")
    assert state(pod)["waiting"]["reason"] == "PodInitializing"
    assert state(pod, "init")["terminated"]["exitCode"] == 7
    assert condition(pod, "Initialized") == "False"


async def test_sidecar_starts_first_and_ends_last(cluster: KubeletCluster) -> None:
    sidecar = shell("echo up; trap 'echo down; exit 0' TERM; while :; do sleep 0.05; done", "side")
    await cluster.run(
        "with-sidecar",
        shell("sleep 0.3; echo main"),
        initContainers=[{**sidecar, "restartPolicy": "Always"}],
    )
    pod = await cluster.phase("with-sidecar", "Succeeded")
    main, side = (state(pod, name)["terminated"] for name in ("app", "side"))
    assert side["startedAt"] <= main["startedAt"]
    assert side["exitCode"] == 0
    lines = (await cluster.log("with-sidecar", container="side")).splitlines()
    assert (lines[0], lines[-1]) == ("up", "down")


async def test_deleted_pod_gets_sigterm_and_its_grace_period(cluster: KubeletCluster) -> None:
    script = "trap 'echo bye > $HOME/../bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    await cluster.run("polite", shell(script))
    pod = await cluster.until("polite", lambda pod: condition(pod, "Ready") == "True")
    await cluster.log("polite")
    await cluster.client.delete(f"{PODS}/polite")
    await cluster.wait_until_deleted("polite", 10)
    assert (await cluster.event("polite", "Killing"))["message"] == "Stopping container app"
    folder = cluster.folder / "pods" / pod["metadata"]["uid"]
    await eventually(lambda: not folder.exists())


async def test_container_that_ignores_sigterm_is_killed_after_the_grace_period(
    cluster: KubeletCluster,
) -> None:
    await cluster.run("ignores", shell("trap '' TERM; echo up; while :; do sleep 0.05; done"))
    await cluster.until("ignores", lambda pod: condition(pod, "Ready") == "True")
    await cluster.client.delete(f"{PODS}/ignores", {"gracePeriodSeconds": 1})
    await cluster.wait_until_deleted("ignores", 10)


async def test_a_pod_past_its_deadline_fails(cluster: KubeletCluster) -> None:
    await cluster.run("late", shell("sleep 60"), activeDeadlineSeconds=1)
    pod = await cluster.phase("late", "Failed")
    assert pod["status"]["reason"] == "DeadlineExceeded"


async def test_a_liveness_failure_restarts_the_container(cluster: KubeletCluster) -> None:
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    await cluster.run(
        "sick",
        shell("sleep 60", livenessProbe=probe),
        restartPolicy="Always",
        terminationGracePeriodSeconds=1,
    )
    pod = await cluster.until("sick", lambda pod: status_of(pod).get("restartCount", 0) >= 1)
    assert status_of(pod)["lastState"]["terminated"]["exitCode"] == 143
    assert "Liveness probe failed" in (await cluster.event("sick", "Unhealthy"))["message"]
    killing = await cluster.event("sick", "Killing")
    assert killing["message"] == "Container app failed liveness probe, will be restarted"


async def test_readiness_follows_its_probe(cluster: KubeletCluster) -> None:
    probe = {"exec": {"command": ["sh", "-c", 'test -e "$HOME/ready"']}, "periodSeconds": 1}
    await cluster.run(
        "slow", shell('sleep 1.2; echo > "$HOME/ready"; sleep 60', readinessProbe=probe)
    )
    pod = await cluster.until("slow", lambda pod: "running" in state(pod))
    assert condition(pod, "Ready") == "False"
    await cluster.until("slow", lambda pod: condition(pod, "Ready") == "True")
    await cluster.client.delete(f"{PODS}/slow", {"gracePeriodSeconds": 0})


async def test_hooks_run_after_the_start_and_before_the_stop(cluster: KubeletCluster) -> None:
    volume = {"name": "hooks", "hostPath": {"path": str(cluster.folder)}}
    hooks = {
        "postStart": {"exec": {"command": ["sh", "-c", "echo post > /hooks/post"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "echo pre > /hooks/pre"]}},
    }
    mounts = [{"name": "hooks", "mountPath": "/hooks"}]
    container = shell("sleep 60", lifecycle=hooks, volumeMounts=mounts)
    await cluster.run("hooked", container, volumes=[volume])
    await cluster.until("hooked", lambda pod: condition(pod, "Ready") == "True")
    assert (cluster.folder / "post").read_text() == "post\n"
    await cluster.client.delete(f"{PODS}/hooked")
    await cluster.wait_until_deleted("hooked", 10)
    assert (cluster.folder / "pre").read_text() == "pre\n"


async def test_missing_path_of_the_host_is_an_empty_folder_of_the_pod(
    cluster: KubeletCluster,
) -> None:
    path = cluster.folder / "missing"
    mounts = [{"name": "host", "mountPath": "/host"}]
    volumes = [{"name": "host", "hostPath": {"path": str(path)}}]
    await cluster.run(
        "host", shell("ls -A /host && echo empty", volumeMounts=mounts), volumes=volumes
    )
    await cluster.phase("host", "Succeeded")
    assert await cluster.log("host") == "empty\n"
    assert not path.exists()


async def test_environment_has_the_values_of_all_sources(cluster: KubeletCluster) -> None:
    await cluster.config_map("settings", mode="fast", odd="x")
    await cluster.secret("keys", password="hush")
    env = [
        {"name": "PLAIN", "value": "$(SET_mode)-$$(X)"},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "password"}}},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {
            "name": "NONE",
            "valueFrom": {"configMapKeyRef": {"name": "no", "key": "no", "optional": True}},
        },
    ]
    sources = [{"prefix": "SET_", "configMapRef": {"name": "settings"}}]
    await cluster.run("env", shell("env", env=env, envFrom=sources))
    await cluster.phase("env", "Succeeded")
    found = dict(
        line.split("=", 1) for line in (await cluster.log("env")).splitlines() if "=" in line
    )
    assert (found["PLAIN"], found["KEY"], found["POD"]) == ("fast-$(X)", "hush", "env")
    assert "NONE" not in found
    port = cluster.server.rpartition(":")[2]
    assert found["KUBERNETES_SERVICE_PORT"] == port
    assert found["HOSTNAME"] == "env"
    assert found["SSL_CERT_FILE"] == str(cluster.ca_file)
    assert set(found) < {
        *(
            "PLAIN",
            "KEY",
            "POD",
            "SET_mode",
            "SET_odd",
            "HOSTNAME",
            "HOME",
            "TMPDIR",
            "PATH",
            "PWD",
        ),
        *("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "KUBERNETES_SERVICE_PORT_HTTPS"),
        *(f"KUBERNETES_PORT_{port}_TCP{end}" for end in ("", "_PROTO", "_PORT", "_ADDR")),
        *("KUBERNETES_PORT", "SSL_CERT_FILE", "NO_PROXY", "LANG", "LC_ALL", "TZ", "SHLVL", "_"),
        *("OLDPWD", "KUBELING_RUNTIME", "KUBELING_CONTAINER", "PYTEST_RUN_MARK"),
    }, "no other variable of the host is in the environment"


async def test_environment_has_the_services_of_the_namespace(cluster: KubeletCluster) -> None:
    await cluster.client.create("/api/v1/namespaces", {"metadata": {"name": "other"}})
    port = {"name": "web", "port": 80}
    for namespace, name, address in (
        ("default", "my-shop", None),
        ("default", "headless", "None"),
        ("other", "elsewhere", None),
    ):
        body = {"metadata": {"name": name}, "spec": {"ports": [port], "clusterIP": address}}
        await cluster.client.create(f"/api/v1/namespaces/{namespace}/services", body)
    own = {"name": "MY_SHOP_SERVICE_PORT", "value": "own"}
    await cluster.run("links", shell("env"))
    await cluster.run("own", shell("env", env=[own]))
    await cluster.run("none", shell("env"), enableServiceLinks=False)
    found = {}
    for name in ("links", "own", "none"):
        await cluster.phase(name, "Succeeded")
        lines = (await cluster.log(name)).splitlines()
        values = dict(line.split("=", 1) for line in lines if "=" in line)
        assert values["KUBERNETES_SERVICE_HOST"] == "127.0.0.1"
        assert "HEADLESS_SERVICE_HOST" not in values
        assert "ELSEWHERE_SERVICE_HOST" not in values
        found[name] = values
    stored = await cluster.client.get("/api/v1/namespaces/default/services/my-shop")
    address = stored["spec"]["clusterIP"]
    assert found["links"]["MY_SHOP_SERVICE_HOST"] == address
    assert found["links"]["MY_SHOP_PORT_80_TCP"] == f"tcp://{address}:80"
    assert found["own"]["MY_SHOP_SERVICE_PORT"] == "own"
    assert not [name for name in found["none"] if name.startswith("MY_SHOP")]


async def test_address_of_the_pod_is_exempt_from_the_default_proxy(cluster: KubeletCluster) -> None:
    ip = {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    own = {"name": "NO_PROXY", "value": "own"}
    await cluster.run("default", shell('echo "$NO_PROXY $IP"', env=[ip]))
    await cluster.run("own", shell('echo "$NO_PROXY"', env=[own]))
    for name in ("default", "own"):
        await cluster.phase(name, "Succeeded")
    hosts, address = (await cluster.log("default")).split()
    assert hosts == f"localhost,{address}"
    assert await cluster.log("own") == "own\n"


async def test_container_waits_for_a_missing_config_map(cluster: KubeletCluster) -> None:
    env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "later", "key": "a"}}}]
    await cluster.run("waits", shell('echo "$A"', env=env))
    pod = await cluster.until(
        "waits", lambda pod: state(pod).get("waiting", {}).get("reason", "").startswith("Create")
    )
    assert state(pod)["waiting"]["message"] == 'configmap "later" not found'
    await cluster.config_map("later", a="here")
    await cluster.phase("waits", "Succeeded")
    assert await cluster.log("waits") == "here\n"


async def test_container_is_restarted_by_its_own_rule(cluster: KubeletCluster) -> None:
    script = 'test -e "$HOME/done" && exit 0; echo > "$HOME/done"; exit 42'
    rule = {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}
    container = shell(script, restartPolicy="Never", restartPolicyRules=[rule])
    await cluster.run("rules", container)
    pod = await cluster.phase("rules", "Succeeded")
    assert status_of(pod)["restartCount"] == 1


async def test_pod_starts_if_the_node_has_the_handler_of_its_runtime_class(
    cluster: KubeletCluster,
) -> None:
    for handler in ("runc", "kata"):
        body = {"metadata": {"name": handler}, "handler": handler}
        body |= {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass"}
        await cluster.client.create("/apis/node.k8s.io/v1/runtimeclasses", body)
        await cluster.run(handler, shell("true"), runtimeClassName=handler)
    await cluster.phase("runc", "Succeeded")
    event = await cluster.event("kata", "FailedCreatePodSandBox")
    assert event["message"] == ('Failed to create pod sandbox: no runtime for "kata" is configured')
    assert (await cluster.get("kata"))["status"]["phase"] == "Pending"


async def test_pod_waits_for_a_missing_volume_source_with_an_event(cluster: KubeletCluster) -> None:
    await cluster.run(
        "mounts",
        shell("cat /conf/a", volumeMounts=[{"name": "conf", "mountPath": "/conf"}]),
        volumes=[{"name": "conf", "configMap": {"name": "later"}}],
    )
    event = await cluster.event("mounts", "FailedMount")
    assert event["message"] == (
        'MountVolume.SetUp failed for volume "conf" : configmap "later" not found'
    )
    await cluster.config_map("later", a="here")
    await cluster.phase("mounts", "Succeeded")
    assert await cluster.log("mounts") == "here"


async def test_volume_is_updated_soon_after_the_start(bare_cluster: KubeletCluster) -> None:
    """Fails if a controller that fills the Secret of its own certificate waits a minute for the files."""
    await bare_cluster.start(refresh_seconds=3600.0)
    await bare_cluster.secret("certificate")
    volume = {"name": "certs", "secret": {"secretName": "certificate"}}
    waiting = shell(
        "until cat /certs/tls.crt; do sleep 0.1; done",
        volumeMounts=[{"name": "certs", "mountPath": "/certs"}],
    )
    await bare_cluster.run("controller", waiting, volumes=[volume])
    await bare_cluster.phase("controller", "Running")
    path = "/api/v1/namespaces/default/secrets/certificate"
    await bare_cluster.client.patch(path, {"stringData": {"tls.crt": "new"}})
    await bare_cluster.phase("controller", "Succeeded")


async def test_volume_is_updated_with_its_config_map(cluster: KubeletCluster) -> None:
    await cluster.config_map("conf", a="old")
    script = 'until test "$(cat /conf/a)" = new; do sleep 0.05; done'
    await cluster.run(
        "follows",
        shell(script, volumeMounts=[{"name": "conf", "mountPath": "/conf"}]),
        volumes=[{"name": "conf", "configMap": {"name": "conf"}}],
    )
    await cluster.until("follows", lambda pod: "running" in state(pod))
    await cluster.client.patch("/api/v1/namespaces/default/configmaps/conf", {"data": {"a": "new"}})
    await cluster.phase("follows", "Succeeded")


async def test_unknown_image_is_reported_with_its_resolution(cluster: KubeletCluster) -> None:
    await cluster.run("image", {"name": "app", "image": "example.org/team/tool:1"})
    pod = await cluster.until("image", lambda pod: "Image" in str(state(pod)))
    waiting = state(pod)["waiting"]
    assert waiting["reason"] == "ImageUnknown"
    assert "image example.org/team/tool:1 is unknown" in waiting["message"]
    cluster.images.known["example.org/team/tool:1"] = ("echo", "known")
    await cluster.phase("image", "Succeeded")
    assert await cluster.log("image") == "known\n"


async def test_missing_program_is_a_start_error(cluster: KubeletCluster) -> None:
    await cluster.run("nothing", {"name": "app", "image": "none", "command": ["no-such-program"]})
    ended = state(await cluster.phase("nothing", "Failed"))["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("StartError", 128)
    assert "no-such-program" in ended["message"]


async def test_pod_of_another_scheduler_or_node_is_ignored(cluster: KubeletCluster) -> None:
    await cluster.run("foreign", shell("true"), schedulerName="other")
    await cluster.run("elsewhere", shell("true"), nodeName="other-node")
    await cluster.run("mine", shell("true"))
    await cluster.phase("mine", "Succeeded")
    assert "nodeName" not in (await cluster.get("foreign"))["spec"]
    assert (await cluster.get("elsewhere"))["status"]["phase"] == "Pending"


async def test_pod_with_another_node_selector_has_an_event(cluster: KubeletCluster) -> None:
    await cluster.run("picky", shell("true"), nodeSelector={"disk": "ssd"})
    assert "node affinity/selector" in (await cluster.event("picky", "FailedScheduling"))["message"]
    pod = await cluster.get("picky")
    assert condition(pod, "PodScheduled") == "False"


async def test_pod_has_events_for_each_step(cluster: KubeletCluster) -> None:
    await cluster.run("story", shell("true"))
    await cluster.phase("story", "Succeeded")
    await cluster.event("story", "Started")
    reasons = {each["reason"] for each in await cluster.events("story")}
    assert {"Scheduled", "Pulled", "Created", "Started"} <= reasons


async def test_pod_without_volumes_can_be_deleted(cluster: KubeletCluster) -> None:
    await cluster.run(
        "brief", shell("true"), volumes=[{"name": "v", "secret": {"secretName": "no"}}]
    )
    await cluster.event("brief", "FailedMount")
    await cluster.client.delete(f"{PODS}/brief")
    await cluster.wait_until_deleted("brief", 10)


async def test_finished_pod_can_be_deleted(cluster: KubeletCluster) -> None:
    await cluster.run("ended", shell("true"))
    await cluster.phase("ended", "Succeeded")
    await cluster.client.delete(f"{PODS}/ended")
    await cluster.wait_until_deleted("ended", 10)


async def test_log_of_a_waiting_container_is_refused(cluster: KubeletCluster) -> None:
    await cluster.run("image", {"name": "app", "image": "unknown"})
    await cluster.until("image", lambda pod: "waiting" in state(pod))
    with pytest.raises(ApiError) as caught:
        await cluster.log("image")
    assert caught.value.status == 400


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
async def test_pod_in_bubblewrap_has_the_paths_of_its_mounts(bare_cluster: KubeletCluster) -> None:
    kubelet = await bare_cluster.start(path=programs(bare_cluster.folder, "bwrap"))
    assert kubelet.sandbox == "bubblewrap"
    await bare_cluster.config_map("conf", a="content")
    script = "import sys; print(open('/var/run/secrets/' + 'azure/a').read())"
    await bare_cluster.run(
        "real",
        {
            "name": "app",
            "image": "none",
            "command": ["python", "-c", script],
            "workingDir": "/no/such/folder",
            "volumeMounts": [{"name": "conf", "mountPath": "/var/run/secrets/azure"}],
        },
        volumes=[{"name": "conf", "configMap": {"name": "conf"}}],
    )
    await bare_cluster.phase("real", "Succeeded", "Failed")
    assert await bare_cluster.log("real") == "content\n"


@pytest.mark.parametrize("kind", ["bubblewrap", "namespaces"])
async def test_pod_that_is_stopped_at_its_start_does_not_use_its_grace_period(
    bare_cluster: KubeletCluster, kind: str
) -> None:
    """Fails if SIGTERM is lost while the sandbox is being made."""
    path = programs(bare_cluster.folder, "bwrap")
    kubelet = await bare_cluster.start(sandboxes=[kind], path=path)
    if kubelet.sandbox != kind:
        pytest.skip(f"a sandbox by {kind} does not work here")
    names = [f"p-{number}" for number in range(30)]
    for name in names:
        await bare_cluster.run(name, shell("sleep 600"))
    stops: dict[str, asyncio.Task[None]] = {}
    async with asyncio.timeout(60):
        while len(stops) < len(names):
            for name in names:
                worker = kubelet._find_worker("default", name)
                if name not in stops and worker and worker.containers.running_count:
                    stops[name] = asyncio.create_task(worker.stop(600))
            await asyncio.sleep(0)
        await asyncio.gather(*stops.values())
