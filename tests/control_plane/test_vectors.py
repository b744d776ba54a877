"""The recorded requests, sent to a real API server: a check of the recording and of the replayer."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.control_plane import plane
from tests.control_plane.contract.api import ADMIN, ALICE, USERS, Api, ContractServer
from tests.kubeling.cluster import Reply
from tests.kubeling.modules import load

replay = load("apiserver/replay.py")

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(400)]
RECORDED = "v1.34.4"
NOT_REPEATED = {
    "watch with initial events": "recorded on an etcd without progress notifications",
    "its pods": "the mask of a pod's name holds one suffix, and such a name has two",
}
# A real server uses new RBAC rules and webhooks a moment after they are stored.
INFORMED = ("/apis/rbac.authorization.k8s.io/", "/apis/admissionregistration.k8s.io/")
# Controllers write it during the step, so its value depends on timing.
MOVING = {"strategic merge of containers by name": "status."}
TRIES = 25
# No controller managed the nodes of the recorded server.
CONTROLLERS = "--controllers=*,-node-lifecycle-controller,-ttl-controller"


@dataclass(frozen=True)
class LiveServer:
    """A server with the interface that the replayer expects."""

    server: str
    call: Callable[..., Awaitable[Reply]]


async def test_real_server_responds_as_recorded(tmp_path: Path) -> None:
    users = tmp_path / "users.csv"
    lines = [
        f'{token},{USERS[token][0]},{USERS[token][0]},"{USERS[token][1]}"'
        for token in (ADMIN, ALICE)
    ]
    users.write_text("\n".join(lines))
    more = [
        f"--token-auth-file={users}",
        f"--service-account-jwks-uri=https://{replay.RECORDED_AT}/openid/v1/jwks",
    ]
    with plane.running(tmp_path / "plane", more, [CONTROLLERS]) as running:
        async with running.admin() as admin:
            version = (await admin.get("/version"))["gitVersion"]
        if version != RECORDED:
            pytest.skip(f"the vectors are of {RECORDED}, and this is {version}")
        tls = ssl.create_default_context(cafile=str(running.ca_file))
        server = ContractServer(
            kind="kube-apiserver", url=running.server, ca_file=running.ca_file, folder=tmp_path
        )
        connector = aiohttp.TCPConnector(ssl=tls)
        async with aiohttp.ClientSession(connector=connector) as session:
            api = Api(server=server, session=session)
            problems = await _problems(LiveServer(running.server, api.call))
    assert not problems, "\n".join(problems)


async def _problems(live: LiveServer) -> list[str]:
    kept: dict[str, str] = {}
    problems = []
    for at, step in enumerate(replay.VECTORS["steps"]):
        if step["title"] in NOT_REPEATED:
            continue
        reply, differences = await _send_step(live, step, kept)
        problems += [f"#{at} {step['title']}: {each}" for each in differences]
        for name, path in (step.get("keep") or {}).items():
            if name != "n" and reply.status < 300:
                kept[name] = replay.get_path(reply.body, path)
    return problems


async def _send_step(
    live: LiveServer, step: dict[str, Any], kept: dict[str, str]
) -> tuple[Reply, list[str]]:
    """Send one step; repeat steps that only read until controllers have finished."""
    moving = MOVING.get(step["title"], "\0")
    for _ in range(TRIES):
        reply: Reply = await replay.send(live, step, kept)
        found = replay.compare(live, step, reply)
        differences = [each for each in found if not each.startswith(moving)]
        if not differences or step["method"] != "GET":
            break
        await asyncio.sleep(0.2)
    if step["method"] != "GET" and any(group in step["path"] for group in INFORMED):
        await asyncio.sleep(1)
    return reply, differences
