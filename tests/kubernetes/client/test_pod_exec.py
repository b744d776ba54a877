"""One command in a container, against a server of the WebSocket protocol."""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from aiohttp import web

from podpass.kubernetes.client import KubeClient, KubeError, KubeUnreachable, Target
from podpass.kubernetes.client.pod_exec import run_command
from tests.kubernetes.client.conftest import ServeSockets
from tests.ports import free_port

_SUCCESS = {"status": "Success"}
_EXIT_3 = {
    "status": "Failure",
    "message": "command terminated with exit code 3",
    "details": {"causes": [{"reason": "ExitCode", "message": "3"}]},
}
_NO_PROGRAM = {"status": "Failure", "message": 'exec: "sh": executable file not found in $PATH'}

Script = list[bytes | dict[str, Any]]


@pytest.fixture
def serve(serve_sockets: ServeSockets) -> Callable[..., Any]:
    """Start a server that sends messages: bytes as they are, an object on the error channel."""

    async def start(script: Script, *, ends: bool = True) -> tuple[KubeClient, list[Any]]:
        async def handle(socket: web.WebSocketResponse) -> None:
            for each in script:
                sent = each if isinstance(each, bytes) else b"\x03" + orjson.dumps(each)
                await socket.send_bytes(sent)
            if not ends:
                await socket.receive()

        return await serve_sockets("v5.channel.k8s.io", handle if script else None)

    return start


async def _run(client: KubeClient, **limits: Any) -> Any:
    async with client:
        return await run_command(client, "n", "web", "app", ["sh", "-c", "a b"], **limits)


async def test_output_of_both_streams_is_returned(serve: Callable[..., Any]) -> None:
    client, seen = await serve([b"\x01one ", b"\x02problem", b"", b"\x01two", _SUCCESS])
    done = await _run(client)
    assert (done.exit_code, done.output, done.messages) == (0, "one two", "problem")
    [(path, query)] = seen
    assert path == "/api/v1/namespaces/n/pods/web/exec"
    assert [value for name, value in query if name == "command"] == ["sh", "-c", "a b"]
    assert "stdin" not in dict(query)


@pytest.mark.parametrize(
    ("status", "code"), [(_EXIT_3, 3), (_NO_PROGRAM, 127)], ids=["exit code", "no program"]
)
async def test_failed_command_has_its_exit_code(
    serve: Callable[..., Any], status: dict[str, Any], code: int
) -> None:
    client, _ = await serve([status])
    done = await _run(client)
    assert (done.exit_code, done.error) == (code, status["message"])


@pytest.mark.parametrize(
    "script", [[b"\x01text"], [b"\x03no JSON"], [b"\x03[]"]], ids=["none", "text", "list"]
)
async def test_stream_without_a_result_fails(serve: Callable[..., Any], script: Script) -> None:
    client, _ = await serve(script)
    with pytest.raises(KubeError, match="without a result"):
        await _run(client)


async def test_output_is_limited(serve: Callable[..., Any]) -> None:
    client, _ = await serve([b"\x01" + b"x" * 600, b"\x01" + b"x" * 600, _SUCCESS])
    with pytest.raises(KubeError, match="more than 1000 bytes"):
        await _run(client, max_bytes=1000)


async def test_command_that_does_not_end_is_abandoned(serve: Callable[..., Any]) -> None:
    client, _ = await serve([b"\x01begin"], ends=False)
    with pytest.raises(KubeError) as caught:
        await asyncio.wait_for(_run(client, seconds=0.2), 30)
    assert caught.value.status == 504


async def test_refused_stream_has_the_status_of_the_server(serve: Callable[..., Any]) -> None:
    client, _ = await serve([])
    with pytest.raises(KubeError) as caught:
        await _run(client)
    assert caught.value.status == 403


async def test_connection_to_a_closed_port_fails() -> None:
    client = KubeClient(Target(server=f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(KubeUnreachable):
        await _run(client)
