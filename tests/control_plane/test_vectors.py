"""The recorded conversation, held again with a real API server: a check of the recording and its replayer."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.control_plane import plane
from tests.control_plane.contract.api import ADMIN, ALICE, USERS, Api, Reply, Server
from tests.kubernetes.apiserver import test_vectors as replay

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(400)]
RECORDED = "v1.34.4"
NOT_REPEATED = {
    "watch with initial events": "recorded on an etcd without progress notifications",
    "its pods": "the mask of a pod's name holds one suffix, and such a name has two",
}
# A real server hears of its own rights and webhooks a moment after they are stored.
INFORMED = ("/apis/rbac.authorization.k8s.io/", "/apis/admissionregistration.k8s.io/")
# Controllers write it while the step is asked; how far they are is chance.
MOVING = {"strategic merge of containers by name": "status."}
TRIES = 25
# The recorded server's nodes were looked after by nobody.
CONTROLLERS = "--controllers=*,-node-lifecycle-controller,-ttl-controller"


@dataclass(frozen=True)
class Live:
    """A server as the replayer knows one."""

    server: str
    call: Callable[..., Awaitable[Reply]]


async def test_a_real_server_answers_as_it_was_recorded(tmp_path: Path) -> None:
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
        server = Server(
            kind="kube-apiserver", url=running.server, ca_file=running.ca_file, folder=tmp_path
        )
        connector = aiohttp.TCPConnector(ssl=tls)
        async with aiohttp.ClientSession(connector=connector) as session:
            api = Api(server=server, session=session)
            problems = await _problems(Live(running.server, api.call))
    assert not problems, "\n".join(problems)


async def _problems(live: Live) -> list[str]:
    kept: dict[str, str] = {}
    problems = []
    for at, step in enumerate(replay.VECTORS["steps"]):
        if step["title"] in NOT_REPEATED:
            continue
        reply, odd = await _asked(live, step, kept)
        problems += [f"#{at} {step['title']}: {each}" for each in odd]
        for name, path in (step.get("keep") or {}).items():
            if name != "n" and reply.status < 300:
                kept[name] = replay._dig(reply.body, path)
    return problems


async def _asked(live: Live, step: dict[str, Any], kept: dict[str, str]) -> tuple[Reply, list[str]]:
    """Ask one step; what only reads is asked again while controllers are not so far yet."""
    moving = MOVING.get(step["title"], "\0")
    for _ in range(TRIES):
        reply: Reply = await replay._send(live, step, kept)
        found = replay._judge(live, step, reply)
        odd = [each for each in found if not each.startswith(moving)]
        if not odd or step["method"] != "GET":
            break
        await asyncio.sleep(0.2)
    if step["method"] != "GET" and any(group in step["path"] for group in INFORMED):
        await asyncio.sleep(1)
    return reply, odd
