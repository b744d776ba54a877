"""Commands in a container by WebSocket, through the API server."""

import asyncio
import base64
import json
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import aiohttp
import pytest

from kubeling.kubelet.process import CONTAINER_VARIABLE, find_marked
from kubeling.kubelet.streaming import command_session
from tests.kubelet.cluster import (
    PODS,
    KubeletCluster,
    client_context,
    eventually,
    shell,
    status_of,
)
from tests.kubelet.streaming.clients import (
    ERROR,
    RESIZE,
    STDERR,
    STDIN,
    STDOUT,
    V4,
    V5,
    command,
    opened,
    run,
)

IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
WAIT = "while true; do sleep 0.05; done"


@pytest.fixture
async def pod(cluster: KubeletCluster) -> str:
    """Return a running pod with a variable and a mounted ConfigMap."""
    await cluster.config_map("settings", colour="blue")
    mount = {"name": "settings", "mountPath": "/etc/settings"}
    container = shell(WAIT, env=[{"name": "SHAPE", "value": "round"}], volumeMounts=[mount])
    volume = {"name": "settings", "configMap": {"name": "settings"}}
    await cluster.run("pod", container, volumes=[volume], terminationGracePeriodSeconds=0)
    await cluster.phase("pod", "Running")
    return "pod"


async def marked(cluster: KubeletCluster, pod: str) -> list[int]:
    """Return the process ids of the first command that was run in a container."""
    found = status_of(await cluster.get(pod))["containerID"].rpartition("/")[2]
    return list(find_marked(CONTAINER_VARIABLE, f"{found}-1"))


async def test_output_and_exit_code_are_separate(cluster: KubeletCluster, pod: str) -> None:
    done = await run(cluster, pod, "sh", "-c", "echo $SHAPE; echo sorry >&2; exit 7")
    assert (done.text(), done.text(STDERR), done.exit_code) == ("round\n", "sorry\n", 7)
    assert done.protocol == V4


async def test_command_reads_a_mount_of_the_container(cluster: KubeletCluster, pod: str) -> None:
    done = await run(cluster, pod, "cat", "/etc/settings/colour")
    assert (done.text(), done.exit_code) == ("blue", 0)
    assert done.status == {"metadata": {}, "status": "Success"}


async def test_v5_protocol_sends_input_and_its_end_to_the_command(
    cluster: KubeletCluster, pod: str
) -> None:
    query = command("cat", stdin=True)
    async with opened(cluster, pod, query, protocols=(V5, V4)) as channels:
        assert channels.protocol == V5
        await channels.send(STDIN, b"one\n")
        await channels.until(STDOUT, b"one\n")
        await channels.send(STDIN, b"two\n")
        await channels.send(255, bytes([STDIN]))
        await channels.finish()
    assert (channels.text(), channels.exit_code) == ("one\ntwo\n", 0)


async def test_client_gets_a_message_when_the_connection_is_open(
    cluster: KubeletCluster, pod: str
) -> None:
    """Python's client waits for a first message."""
    async with opened(cluster, pod, command("cat", stdin=True)) as channels:
        assert await channels.receive()
        assert channels.received == {STDOUT: b""}


async def test_base64_protocol_for_browsers_encodes_output_and_status(
    cluster: KubeletCluster, pod: str
) -> None:
    query = command("sh", "-c", "echo hello; exit 3")
    async with opened(cluster, pod, query, protocols=("v4.base64.channel.k8s.io",)) as channels:
        await channels.finish()
    assert base64.b64decode(channels.received[ord("1")]) == b"hello\n"
    status = json.loads(base64.b64decode(channels.received[ord("3")]))
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]


async def test_oldest_protocol_gets_the_error_as_text(cluster: KubeletCluster, pod: str) -> None:
    done = await run(cluster, pod, "false", protocols=("channel.k8s.io",))
    assert done.text(ERROR) == "command terminated with non-zero exit code: exit status 1"


async def test_terminal_has_the_size_of_the_client(cluster: KubeletCluster, pod: str) -> None:
    """Fails if the program has no controlling terminal: the shell would report it, and Ctrl-C do nothing."""
    query = command("sh", stdin=True, stderr=False, tty=True)
    async with opened(cluster, pod, query) as channels:
        await channels.send(RESIZE, b'{"Width": 101, "Height": 33}')
        await channels.send(STDIN, b"PS1='>''>'; echo $((20+2)) $TERM; command -p stty size\n")
        await channels.until(STDOUT, b"22 xterm\r\n33 101\r\n")
        # The message is of the process that Ctrl-C ends, so that the shell has started it by then.
        await channels.send(STDIN, b"sh -c 'echo $((40+4)); exec sleep 600'\n")
        await channels.until(STDOUT, b"44\r\n")
        channels.received[STDOUT] = b""
        await channels.send(STDIN, b"\x03")
        # Terminal and shell drop input that arrives before they have handled Ctrl-C. Then the shell prompts.
        await channels.until(STDOUT, b"^C")
        await channels.until(STDOUT, b">>")
        await channels.send(STDIN, b"echo $((30+3))\nexit 4\n")
        await channels.finish()
    assert "33\r\n" in channels.text()
    assert "job control" not in channels.text()
    assert channels.exit_code == 4


@pytest.fixture
def _ignores_signals() -> Iterator[None]:
    """Ignore the signals that a shell script ignores in a program that it starts with `&` and nohup."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in IGNORED}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_ignores_signals")
async def test_containers_of_a_cluster_in_the_background_handle_signals(
    cluster: KubeletCluster, pod: str
) -> None:
    """Fails if they inherit what the kubelet ignores: Ctrl-C and `stopsignal` would have no effect."""
    for number in IGNORED:
        done = await run(cluster, pod, "sh", "-c", f"kill -{int(number)} $$; exit 0")
        assert done.exit_code == 128 + number


async def test_unknown_program_is_named(cluster: KubeletCluster, pod: str) -> None:
    done = await run(cluster, pod, "nothing-here")
    assert done.status["reason"] == "InternalError"
    assert 'exec: "nothing-here": executable file not found in $PATH' in done.status["message"]


async def test_command_is_ended_when_its_client_disconnects(
    cluster: KubeletCluster, pod: str
) -> None:
    """Fails if a session forgets its processes: they would run until the pod ends."""
    async with opened(
        cluster, pod, command("sh", "-c", f"echo up; sleep 600 & {WAIT}")
    ) as channels:
        await channels.until(STDOUT, b"up")
        assert await marked(cluster, pod)
    await eventually(lambda: _is_gone(cluster, pod))


async def test_command_that_ignores_signals_is_killed(
    cluster: KubeletCluster, pod: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_session, "_HANG_UP_SECONDS", 0.1)
    script = f"trap '' HUP TERM; echo up; {WAIT}"
    async with opened(cluster, pod, command("sh", "-c", script)) as channels:
        await channels.until(STDOUT, b"up")
    await eventually(lambda: _is_gone(cluster, pod))


async def _is_gone(cluster: KubeletCluster, pod: str) -> bool:
    return not await marked(cluster, pod)


async def test_command_ends_with_its_container(cluster: KubeletCluster, pod: str) -> None:
    async with opened(cluster, pod, command("sh", "-c", f"echo up; {WAIT}")) as channels:
        await channels.until(STDOUT, b"up")
        await cluster.client.delete(f"{PODS}/{pod}")
        await channels.finish()
    assert channels.exit_code == 137


async def test_idle_session_ends(
    cluster: KubeletCluster, pod: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_session, "IDLE_SECONDS", 0.0)
    async with opened(cluster, pod, command("sh", "-c", WAIT)) as channels:
        await channels.finish()
    assert ERROR not in channels.received
    await eventually(lambda: _is_gone(cluster, pod))


@pytest.mark.parametrize(
    ("pod_name", "query", "code", "message"),
    [
        ("pod", command("true", stdout=False, stderr=False), 400, "at least 1 of stdin"),
        ("pod", command(), 400, "at least one command"),
        ("pod", [*command("true"), ("container", "other")], 400, "container other is not valid"),
        ("missing", command("true"), 404, 'pods "missing" not found'),
        ("ended", command("true"), 404, 'container not found ("app")'),
    ],
)
async def test_invalid_exec_request_is_refused_before_the_upgrade(
    cluster: KubeletCluster,
    pod: str,
    pod_name: str,
    query: list[tuple[str, str]],
    code: int,
    message: str,
) -> None:
    await cluster.run("ended", shell("true"))
    await cluster.phase("ended", "Succeeded")
    status, body = await _handshake(cluster, pod_name, query)
    assert (status, pod) == (code, "pod")
    assert message in json.loads(body)["message"]


async def test_request_without_an_upgrade_is_refused(cluster: KubeletCluster, pod: str) -> None:
    context = client_context(cluster.folder, cluster.ca, None)
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
        session.post(
            f"{cluster.server}{PODS}/{pod}/exec",
            params=command("true"),
            headers={"authorization": "Bearer admin-token"},
        ) as response,
    ):
        assert response.status == 400
        assert (await response.json())["message"] == "Upgrade request required"


async def test_sessions_are_limited(
    cluster: KubeletCluster, pod: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kubeling.kubelet.streaming import endpoints

    monkeypatch.setattr(endpoints, "MAX_SESSIONS", 1)
    async with opened(cluster, pod, command("cat", stdin=True)) as channels:
        await channels.receive()
        status, body = await _handshake(cluster, pod, command("true"))
        assert (status, "already 1 streaming connections" in body) == (500, True)
    await eventually(lambda: _runs(cluster, pod))


async def _runs(cluster: KubeletCluster, pod: str) -> bool:
    return (await _handshake(cluster, pod, command("true")))[0] == 101


async def _handshake(
    cluster: KubeletCluster, pod: str, query: list[tuple[str, str]], token: str = "admin-token"
) -> tuple[int, str]:
    """Return the status of a handshake, and the body of a refusal."""
    headers = {
        "authorization": f"Bearer {token}",
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": base64.b64encode(b"0" * 16).decode(),
        "sec-websocket-protocol": V4,
    }
    context = client_context(cluster.folder, cluster.ca, None)
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
        session.get(
            f"{cluster.server}{PODS}/{pod}/exec", params=query, headers=headers
        ) as response,
    ):
        return response.status, "" if response.status == 101 else await response.text()


@pytest.mark.parametrize(
    ("verbs", "code"), [(["get"], 403), (["create"], 403), (["get", "create"], 101)]
)
async def test_command_needs_the_verb_create(
    cluster: KubeletCluster, pod: str, verbs: list[str], code: int
) -> None:
    """Fails without the check: a role that may only read would run commands by WebSocket."""
    rules = [{"apiGroups": [""], "resources": ["pods/exec"], "verbs": verbs}]
    assert await _status_with_role(cluster, pod, rules) == code


async def test_role_that_reads_everything_may_not_run_commands(
    cluster: KubeletCluster, pod: str
) -> None:
    rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}]
    assert await _status_with_role(cluster, pod, rules) == 403


async def _status_with_role(cluster: KubeletCluster, pod: str, rules: Sequence[object]) -> int:
    """Return the status of a handshake of a ServiceAccount with these rules only."""
    prefix = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    api = "rbac.authorization.k8s.io"
    await cluster.client.create(
        "/api/v1/namespaces/default/serviceaccounts",
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "caller"}},
    )
    kind = {"apiVersion": f"{api}/v1", "metadata": {"name": "caller"}}
    await cluster.client.create(f"{prefix}/roles", {**kind, "kind": "Role", "rules": rules})
    binding = {
        "roleRef": {"apiGroup": api, "kind": "Role", "name": "caller"},
        "subjects": [{"kind": "ServiceAccount", "name": "caller", "namespace": "default"}],
    }
    await cluster.client.create(
        f"{prefix}/rolebindings", {**kind, **binding, "kind": "RoleBinding"}
    )
    token = await cluster.client.create(
        "/api/v1/namespaces/default/serviceaccounts/caller/token",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
    )
    return (await _handshake(cluster, pod, command("true"), token["status"]["token"]))[0]


async def test_log_contains_neither_token_nor_input(
    cluster: KubeletCluster, pod: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level("DEBUG")
    query = command("cat", stdin=True)
    protocols = (V5, "base64url.bearer.authorization.k8s.io.c2VjcmV0LXRva2Vu")
    async with opened(cluster, pod, query, protocols=protocols) as channels:
        await channels.send(STDIN, b"typed-password")
        await channels.until(STDOUT, b"typed-password")
    await asyncio.sleep(0)
    shown = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    for secret in ("typed-password", "admin-token", "c2VjcmV0LXRva2Vu", str(tmp_path / "keys")):
        assert secret not in shown
