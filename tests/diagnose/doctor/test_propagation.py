"""A credential that the token service does not find yet, on an instance that delays new credentials."""

import asyncio
from typing import Any

import pytest

from podpass.diagnose.doctor.model import Diagnosis
from tests.cli.azure_world import AzureWorld
from tests.diagnose.doctor.cloud_world import Workload, connected

pytestmark = pytest.mark.processes


def test_credential_that_was_just_created_is_named(make_podpass: Any) -> None:
    podpass = make_podpass()
    podpass.up("--propagation-delay", "3600")
    world = AzureWorld(podpass=podpass, status=podpass.status())

    async def run() -> Diagnosis:
        async with connected(world) as cloud:
            await cloud.create_shared()
            workload = Workload(name="early", credentials=[cloud.credential("early")])
            await cloud.create(workload)
            return await cloud.diagnose(workload)

    found = asyncio.run(run())
    assert [each.check for each in found.findings] == ["credential-not-visible"]
    assert "letter by letter" in found.findings[0].message
    assert "AADSTS70" in found.findings[0].message
