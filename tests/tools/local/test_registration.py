"""What an instance asks its cluster before it registers a webhook there."""

from typing import Any

import orjson
import pytest

from podpass.admission.sidecar import UnknownVersion
from podpass.kube import KubeClient
from podpass.kube.target import Target
from podpass.serve import Receive, Scope, Send, bind, respond, serving
from podpass.tools.local.registration import runs_native_sidecars


async def _asked(version: dict[str, Any]) -> bool:
    async def app(scope: Scope, _: Receive, send: Send) -> None:
        found = scope["path"] == "/version"
        await respond(send, 200 if found else 404, orjson.dumps(version))

    sock = bind("127.0.0.1", 0)
    target = Target(server=f"http://127.0.0.1:{sock.getsockname()[1]}")
    async with serving(app, sock, None), KubeClient(target) as client:
        return await runs_native_sidecars(client)


@pytest.mark.parametrize(("version", "native"), [("v1.31.9", False), ("v1.32.0+k3s1", True)])
async def test_the_api_server_itself_is_asked_whether_sidecars_are_native(
    version: str, native: bool
) -> None:
    assert await _asked({"gitVersion": version}) is native


async def test_a_server_without_a_version_is_an_error() -> None:
    with pytest.raises(UnknownVersion):
        await _asked({})
