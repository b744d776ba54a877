"""`helm test` of both charts, as notes and guides describe it: the log of the finished pod can be read."""

import asyncio
import re
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.kubernetes_clients import test_authority_chart, test_own_chart
from tests.kubernetes_clients.command import CommandLineClient

# Chart, namespace, values, and the pod of its test.
OWN = (
    *("workload-identity-webhook", test_own_chart.CHART, "-n", test_own_chart.SPACE),
    *("--set", f"{test_own_chart.TENANT},failurePolicy=Ignore"),  # no webhook runs here
)
INSTALLED = {
    "install.md": (OWN, "/api/v1/namespaces/default/pods/workload-identity-webhook-test"),
    "self-host.md": (
        test_authority_chart.RELEASE,
        f"{test_authority_chart.PODS}/podpass-authority-test",
    ),
}


@asynccontextmanager
async def report_success(live: Any, pod: str) -> AsyncIterator[None]:
    """Act as kubelet: report one pod as succeeded whenever it exists."""

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
async def test_log_of_a_passed_test_can_be_read_and_the_next_run_replaces_it(
    live: Any, helm: CommandLineClient, kubectl: CommandLineClient, guide: str
) -> None:
    release, pod = INSTALLED[guide]
    notes = await helm("install", *release, "--create-namespace")
    (test,) = re.findall(r"^  helm (test .*)$", notes, re.MULTILINE)
    reads = re.findall(r"^  kubectl (.* logs \S+-test)$", notes, re.MULTILINE)
    text = (test_authority_chart.ROOT / "docs/operate" / guide).read_text()
    assert f"\nhelm {test}\n" in text
    assert all(f"\nkubectl {read}\n" in text for read in reads)
    # Helm reads logs only of pods in the release's namespace.
    assert ("--logs" in test) is not bool(reads)
    seen = []
    async with report_success(live, pod):
        for _ in range(2):
            output = await helm(*shlex.split(test))
            assert re.search(r"^Phase: +Succeeded$", output, re.MULTILINE)
            for read in reads:
                await kubectl(*shlex.split(read))
            seen.append((await live.call("GET", pod)).body["metadata"]["uid"])
    assert seen[0] != seen[1]
