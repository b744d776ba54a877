"""`helm test` of both charts, as notes and guides have it: the pod that passed is there to be read."""

import asyncio
import re
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.kubernetes_clients import test_authority_chart, test_own_chart
from tests.kubernetes_clients.command import Command

# What is installed, where, with what; and the pod of its test.
OWN = (
    *("workload-identity-webhook", test_own_chart.CHART, "-n", test_own_chart.SPACE),
    *("--set", f"{test_own_chart.TENANT},failurePolicy=Ignore"),  # no webhook answers here
)
INSTALLED = {
    "install.md": (OWN, "/api/v1/namespaces/default/pods/workload-identity-webhook-test"),
    "self-host.md": (
        test_authority_chart.RELEASE,
        f"{test_authority_chart.PODS}/podpass-authority-test",
    ),
}


@asynccontextmanager
async def passing(live: Any, pod: str) -> AsyncIterator[None]:
    """Be the kubelet: say of one pod that it has ended well, whenever it is there."""

    async def run() -> None:
        while True:
            status = {"status": {"phase": "Succeeded"}}
            kind = "application/merge-patch+json"
            await live.call("PATCH", f"{pod}/status", status, content_type=kind)
            await asyncio.sleep(0.1)

    running = asyncio.create_task(run())
    try:
        yield
    finally:
        running.cancel()


@pytest.mark.parametrize("guide", INSTALLED)
async def test_a_test_that_passed_can_be_read_and_a_next_one_takes_its_place(
    live: Any, helm: Command, kubectl: Command, guide: str
) -> None:
    release, pod = INSTALLED[guide]
    notes = await helm("install", *release, "--create-namespace")
    (test,) = re.findall(r"^  helm (test .*)$", notes, re.MULTILINE)
    reads = re.findall(r"^  kubectl (.* logs \S+-test)$", notes, re.MULTILINE)
    told = (test_authority_chart.ROOT / "docs" / "guides" / guide).read_text()
    assert f"\nhelm {test}\n" in told
    assert all(f"\nkubectl {read}\n" in told for read in reads)
    # Helm looks for the pod in the release's namespace, so only there it can read the log itself.
    assert ("--logs" in test) is not bool(reads)
    seen = []
    async with passing(live, pod):
        for _ in range(2):
            told = await helm(*shlex.split(test))
            assert re.search(r"^Phase: +Succeeded$", told, re.MULTILINE)
            for read in reads:
                await kubectl(*shlex.split(read))
            seen.append((await live.call("GET", pod)).body["metadata"]["uid"])
    assert seen[0] != seen[1]
