"""Pods from the API to processes and back: what a cluster user sees."""

import shutil
from typing import Any

import pytest

from podpass.kubernetes.client import STRATEGIC_PATCH, KubeError
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


async def test_a_pod_runs_and_its_log_can_be_read(lab: Lab) -> None:
    await lab.run("hello", shell("echo hello; echo oops >&2"))
    pod = await lab.phase("hello", "Succeeded", "Failed")
    assert pod["status"]["phase"] == "Succeeded"
    assert pod["spec"]["nodeName"] == "test-node"
    assert state(pod)["terminated"]["exitCode"] == 0
    assert sorted((await lab.log("hello")).splitlines()) == ["hello", "oops"]


async def test_a_running_pod_is_ready_and_its_log_can_be_followed(lab: Lab) -> None:
    await lab.run("web", shell("echo first; sleep 1; echo second"))
    pod = await lab.until("web", lambda pod: condition(pod, "Ready") == "True")
    assert pod["status"]["phase"] == "Running"
    assert pod["status"]["podIP"] == "127.0.0.1"
    assert (status_of(pod)["ready"], status_of(pod)["started"]) == (True, True)
    assert (await lab.log("web", follow="true")).splitlines() == ["first", "second"]


async def test_readiness_overwritten_by_a_node_controller_is_reported_again(lab: Lab) -> None:
    await lab.run("web", shell("sleep 60"))
    await lab.until("web", lambda pod: condition(pod, "Ready") == "True")
    lost = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    path = f"{PODS}/web/status"
    taken = await lab.client.patch(path, lost, STRATEGIC_PATCH)
    assert condition(taken, "Ready") == "False"
    await lab.until("web", lambda pod: condition(pod, "Ready") == "True")


async def test_the_exit_code_of_a_failed_pod_is_shown(lab: Lab) -> None:
    await lab.run("bad", shell("exit 3"))
    pod = await lab.phase("bad", "Failed")
    assert state(pod)["terminated"] | {"reason": "Error", "exitCode": 3} == state(pod)["terminated"]


async def test_exit_code_of_a_signal_is_128_and_its_number(lab: Lab) -> None:
    await lab.run("bad", shell("kill -9 $$$$"))
    assert state(await lab.phase("bad", "Failed"))["terminated"]["exitCode"] == 137


async def test_restart_policy_always_restarts_with_backoff(lab: Lab) -> None:
    await lab.run("loop", shell("echo run; exit 1"), restartPolicy="Always")
    pod = await lab.until("loop", lambda pod: status_of(pod).get("restartCount", 0) >= 3)
    assert pod["status"]["phase"] == "Running"
    assert status_of(pod)["lastState"]["terminated"]["exitCode"] == 1
    pod = await lab.until("loop", lambda pod: "waiting" in state(pod))
    assert state(pod)["waiting"]["reason"] == "CrashLoopBackOff"
    assert "restarting failed container=app pod=loop_default" in state(pod)["waiting"]["message"]
    assert (await lab.event("loop", "BackOff"))["type"] == "Warning"
    assert await lab.log("loop", previous="true") == "run\n"


async def test_restart_policy_on_failure_ends_after_a_success(lab: Lab) -> None:
    script = 'test -e "$HOME/done" && exit 0; echo > "$HOME/done"; exit 1'
    await lab.run("retry", shell(script), restartPolicy="OnFailure")
    pod = await lab.phase("retry", "Succeeded")
    assert status_of(pod)["restartCount"] == 1


async def test_init_containers_run_in_order_before_main_containers(lab: Lab) -> None:
    volume = {"name": "shared", "emptyDir": {}}
    mount: dict[str, Any] = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    await lab.run(
        "ordered",
        shell("cat /shared/order", **mount),
        initContainers=[
            shell("sleep 0.2; echo one >> /shared/order", "first", **mount),
            shell("echo two >> /shared/order", "second", **mount),
        ],
        volumes=[volume],
    )
    pod = await lab.phase("ordered", "Succeeded", "Failed")
    assert await lab.log("ordered") == "one\ntwo\n"
    assert [status_of(pod, name)["ready"] for name in ("first", "second")] == [True, True]


async def test_failed_init_container_fails_a_pod_with_restart_policy_never(lab: Lab) -> None:
    await lab.run("stuck", shell("echo never"), initContainers=[shell("exit 7", "init")])
    pod = await lab.phase("stuck", "Failed")
    assert state(pod)["waiting"]["reason"] == "PodInitializing"
    assert state(pod, "init")["terminated"]["exitCode"] == 7
    assert condition(pod, "Initialized") == "False"


async def test_sidecar_starts_first_and_ends_last(lab: Lab) -> None:
    sidecar = shell("echo up; trap 'echo down; exit 0' TERM; while :; do sleep 0.05; done", "side")
    await lab.run(
        "with-sidecar",
        shell("sleep 0.3; echo main"),
        initContainers=[{**sidecar, "restartPolicy": "Always"}],
    )
    pod = await lab.phase("with-sidecar", "Succeeded")
    main, side = (state(pod, name)["terminated"] for name in ("app", "side"))
    assert side["startedAt"] <= main["startedAt"]
    assert side["exitCode"] == 0
    lines = (await lab.log("with-sidecar", container="side")).splitlines()
    assert (lines[0], lines[-1]) == ("up", "down")


async def test_deleted_pod_gets_sigterm_and_its_grace_period(lab: Lab) -> None:
    script = "trap 'echo bye > $HOME/../bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    await lab.run("polite", shell(script))
    pod = await lab.until("polite", lambda pod: condition(pod, "Ready") == "True")
    await lab.log("polite")
    await lab.client.delete(f"{PODS}/polite")
    await lab.gone("polite", 10)
    assert (await lab.event("polite", "Killing"))["message"] == "Stopping container app"
    folder = lab.folder / "pods" / pod["metadata"]["uid"]
    await eventually(lambda: not folder.exists())


async def test_container_that_ignores_sigterm_is_killed_after_the_grace_period(lab: Lab) -> None:
    await lab.run("deaf", shell("trap '' TERM; echo up; while :; do sleep 0.05; done"))
    await lab.until("deaf", lambda pod: condition(pod, "Ready") == "True")
    await lab.client.delete(f"{PODS}/deaf", {"gracePeriodSeconds": 1})
    await lab.gone("deaf", 10)


async def test_a_pod_past_its_deadline_fails(lab: Lab) -> None:
    await lab.run("late", shell("sleep 60"), activeDeadlineSeconds=1)
    pod = await lab.phase("late", "Failed")
    assert pod["status"]["reason"] == "DeadlineExceeded"


async def test_a_liveness_failure_restarts_the_container(lab: Lab) -> None:
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    await lab.run(
        "sick",
        shell("sleep 60", livenessProbe=probe),
        restartPolicy="Always",
        terminationGracePeriodSeconds=1,
    )
    pod = await lab.until("sick", lambda pod: status_of(pod).get("restartCount", 0) >= 1)
    assert status_of(pod)["lastState"]["terminated"]["exitCode"] == 143
    assert "Liveness probe failed" in (await lab.event("sick", "Unhealthy"))["message"]
    killing = await lab.event("sick", "Killing")
    assert killing["message"] == "Container app failed liveness probe, will be restarted"


async def test_readiness_follows_its_probe(lab: Lab) -> None:
    probe = {"exec": {"command": ["sh", "-c", 'test -e "$HOME/ready"']}, "periodSeconds": 1}
    await lab.run("slow", shell('sleep 1.2; echo > "$HOME/ready"; sleep 60', readinessProbe=probe))
    pod = await lab.until("slow", lambda pod: "running" in state(pod))
    assert condition(pod, "Ready") == "False"
    await lab.until("slow", lambda pod: condition(pod, "Ready") == "True")
    await lab.client.delete(f"{PODS}/slow", {"gracePeriodSeconds": 0})


async def test_hooks_run_after_the_start_and_before_the_stop(lab: Lab) -> None:
    volume = {"name": "hooks", "hostPath": {"path": str(lab.folder)}}
    hooks = {
        "postStart": {"exec": {"command": ["sh", "-c", "echo post > /hooks/post"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "echo pre > /hooks/pre"]}},
    }
    mounts = [{"name": "hooks", "mountPath": "/hooks"}]
    container = shell("sleep 60", lifecycle=hooks, volumeMounts=mounts)
    await lab.run("hooked", container, volumes=[volume])
    await lab.until("hooked", lambda pod: condition(pod, "Ready") == "True")
    assert (lab.folder / "post").read_text() == "post\n"
    await lab.client.delete(f"{PODS}/hooked")
    await lab.gone("hooked", 10)
    assert (lab.folder / "pre").read_text() == "pre\n"


async def test_environment_has_the_values_of_all_sources(lab: Lab) -> None:
    await lab.config_map("settings", mode="fast", odd="x")
    await lab.secret("keys", password="hush")
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
    await lab.run("env", shell("env", env=env, envFrom=sources))
    await lab.phase("env", "Succeeded")
    found = dict(line.split("=", 1) for line in (await lab.log("env")).splitlines() if "=" in line)
    assert (found["PLAIN"], found["KEY"], found["POD"]) == ("fast-$(X)", "hush", "env")
    assert "NONE" not in found
    assert found["KUBERNETES_SERVICE_PORT"] == str(lab.line.port)
    assert found["HOSTNAME"] == "env"
    assert found["SSL_CERT_FILE"] == str(lab.ca_file)
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
        *("KUBERNETES_PORT", "SSL_CERT_FILE", "NO_PROXY", "LANG", "LC_ALL", "TZ", "SHLVL", "_"),
        *("OLDPWD", "PODPASS_RUNTIME", "PODPASS_CONTAINER"),
    }, "nothing of the host's own environment gets in"


async def test_container_waits_for_a_missing_config_map(lab: Lab) -> None:
    env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "later", "key": "a"}}}]
    await lab.run("waits", shell('echo "$A"', env=env))
    pod = await lab.until(
        "waits", lambda pod: state(pod).get("waiting", {}).get("reason", "").startswith("Create")
    )
    assert state(pod)["waiting"]["message"] == 'configmap "later" not found'
    await lab.config_map("later", a="here")
    await lab.phase("waits", "Succeeded")
    assert await lab.log("waits") == "here\n"


async def test_pod_waits_for_a_missing_volume_source_with_an_event(lab: Lab) -> None:
    await lab.run(
        "mounts",
        shell("cat /conf/a", volumeMounts=[{"name": "conf", "mountPath": "/conf"}]),
        volumes=[{"name": "conf", "configMap": {"name": "later"}}],
    )
    event = await lab.event("mounts", "FailedMount")
    assert event["message"] == (
        'MountVolume.SetUp failed for volume "conf" : configmap "later" not found'
    )
    await lab.config_map("later", a="here")
    await lab.phase("mounts", "Succeeded")
    assert await lab.log("mounts") == "here"


async def test_a_volume_follows_its_config_map(lab: Lab) -> None:
    await lab.config_map("conf", a="old")
    script = 'until test "$(cat /conf/a)" = new; do sleep 0.05; done'
    await lab.run(
        "follows",
        shell(script, volumeMounts=[{"name": "conf", "mountPath": "/conf"}]),
        volumes=[{"name": "conf", "configMap": {"name": "conf"}}],
    )
    await lab.until("follows", lambda pod: "running" in state(pod))
    await lab.client.patch("/api/v1/namespaces/default/configmaps/conf", {"data": {"a": "new"}})
    await lab.phase("follows", "Succeeded")


async def test_unknown_image_is_reported_with_its_resolution(lab: Lab) -> None:
    await lab.run("image", {"name": "app", "image": "example.org/team/tool:1"})
    pod = await lab.until("image", lambda pod: "Image" in str(state(pod)))
    waiting = state(pod)["waiting"]
    assert waiting["reason"] == "ImageUnknown"
    assert "podpass image add example.org/team/tool -- COMMAND" in waiting["message"]
    (lab.folder / "images.json").write_text('{"example.org/team/tool": ["echo", "known"]}')
    await lab.phase("image", "Succeeded")
    assert await lab.log("image") == "known\n"


async def test_missing_program_is_a_start_error(lab: Lab) -> None:
    await lab.run("nothing", {"name": "app", "image": "none", "command": ["no-such-program"]})
    ended = state(await lab.phase("nothing", "Failed"))["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("StartError", 128)
    assert "no-such-program" in ended["message"]


async def test_pod_of_another_scheduler_or_node_is_ignored(lab: Lab) -> None:
    await lab.run("foreign", shell("true"), schedulerName="other")
    await lab.run("elsewhere", shell("true"), nodeName="other-node")
    await lab.run("mine", shell("true"))
    await lab.phase("mine", "Succeeded")
    assert "nodeName" not in (await lab.get("foreign"))["spec"]
    assert (await lab.get("elsewhere"))["status"]["phase"] == "Pending"


async def test_pod_with_another_node_selector_has_an_event(lab: Lab) -> None:
    await lab.run("picky", shell("true"), nodeSelector={"disk": "ssd"})
    assert "node affinity/selector" in (await lab.event("picky", "FailedScheduling"))["message"]
    pod = await lab.get("picky")
    assert condition(pod, "PodScheduled") == "False"


async def test_pod_has_events_for_each_step(lab: Lab) -> None:
    await lab.run("told", shell("true"))
    await lab.phase("told", "Succeeded")
    await lab.event("told", "Started")
    reasons = {each["reason"] for each in await lab.events("told")}
    assert {"Scheduled", "Pulled", "Created", "Started"} <= reasons


async def test_pod_without_volumes_can_be_deleted(lab: Lab) -> None:
    await lab.run("brief", shell("true"), volumes=[{"name": "v", "secret": {"secretName": "no"}}])
    await lab.event("brief", "FailedMount")
    await lab.client.delete(f"{PODS}/brief")
    await lab.gone("brief", 10)


async def test_finished_pod_can_be_deleted(lab: Lab) -> None:
    await lab.run("ended", shell("true"))
    await lab.phase("ended", "Succeeded")
    await lab.client.delete(f"{PODS}/ended")
    await lab.gone("ended", 10)


async def test_log_of_a_waiting_container_is_refused(lab: Lab) -> None:
    await lab.run("image", {"name": "app", "image": "unknown"})
    await lab.until("image", lambda pod: "waiting" in state(pod))
    with pytest.raises(KubeError) as caught:
        await lab.log("image")
    assert caught.value.status == 400


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
async def test_pod_in_bubblewrap_has_the_paths_of_its_mounts(cluster: Lab) -> None:
    runtime = await cluster.start(path=programs(cluster.folder, "bwrap"))
    assert runtime.sandbox == "bubblewrap"
    await cluster.config_map("conf", a="content")
    script = "import sys; print(open('/var/run/secrets/' + 'azure/a').read())"
    await cluster.run(
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
    await cluster.phase("real", "Succeeded", "Failed")
    assert await cluster.log("real") == "content\n"
