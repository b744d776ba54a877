"""Pods with the sample images of the documentation."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from kubeling.service_account.signer import RsaSigner

from podpass.lab.cluster.image_source import InstanceImages
from podpass.lab.cluster.samples.builds import SampleBuilds
from podpass.lab.cluster.samples.cache import SampleCache
from podpass.lab.cluster.samples.catalogue import find_by_name
from podpass.lab.cluster.samples.model import Sample
from tests.kubeling.modules import load

pods = load("kubelet/cluster.py")
programs, state = pods.programs, pods.state

pytestmark = pytest.mark.processes

# A toolchain that counts its builds, and builds a program that prints one line.
GO = """#!/bin/sh
echo built >> {folder}/builds
printf '#!/bin/sh\\necho "successfully got secret"\\n' > sample
chmod +x sample
"""


@pytest.fixture
def sample() -> Sample:
    found = find_by_name("msal-go")
    assert found is not None
    return found


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Any]:
    """Yield a cluster whose node builds samples, on a machine without toolchains."""
    async with pods.serve_cluster(tmp_path, trustme.CA(), RsaSigner()) as served:
        cache = SampleCache(tmp_path / "samples", programs(tmp_path, "chmod"))
        async with SampleBuilds(cache, {"PATH": programs(tmp_path)}) as builds:
            images = InstanceImages(tmp_path / "images.json", cache, builds)
            await served.start(images=images)
            yield served


def install(cluster: Any, script: str) -> None:
    tool = Path(programs(cluster.folder), "go")
    tool.write_text(script.format(folder=cluster.folder))
    tool.chmod(0o755)


async def test_first_pod_builds_its_sample_and_pods_share_the_build(
    cluster: Any, sample: Sample
) -> None:
    install(cluster, GO)
    for name in ("one", "two"):
        await cluster.run(name, {"name": "app", "image": f"{sample.image}:v1.6.0"})
    for name in ("one", "two"):
        await cluster.phase(name, "Succeeded")
        assert await cluster.log(name) == "successfully got secret\n"
    assert (cluster.folder / "builds").read_text() == "built\n"
    pulling = (await cluster.event("one", "Pulling"))["message"]
    assert pulling.startswith(f'Building the program of image "{sample.image}:v1.6.0": fetching')
    pulled = [each["message"] for each in await cluster.events("one") if each["reason"] == "Pulled"]
    assert len(pulled) == 1
    assert pulled[0].startswith(f'Built the program of image "{sample.image}:v1.6.0" in ')
    await cluster.run("three", {"name": "app", "image": sample.image})
    await cluster.phase("three", "Succeeded")
    assert "already present" in (await cluster.event("three", "Pulled"))["message"]


async def test_missing_toolchain_is_reported_and_pod_starts_after_its_installation(
    cluster: Any, sample: Sample
) -> None:
    await cluster.run("early", {"name": "app", "image": sample.image})
    pod = await cluster.until("early", lambda pod: "Sample" in str(state(pod)))
    assert state(pod)["waiting"]["reason"] == "SampleNotReady"
    failed = (await cluster.event("early", "Failed"))["message"]
    assert failed.endswith(
        "go is not on the PATH. To start the container: install Go 1.23 or newer"
    )
    install(cluster, GO)
    await cluster.phase("early", "Succeeded")


async def test_failed_build_is_reported_with_its_output(cluster: Any, sample: Sample) -> None:
    install(cluster, "#!/bin/sh\necho undefined: azsecrets.NewClient\nexit 1\n")
    await cluster.run("broken", {"name": "app", "image": sample.image})
    pod = await cluster.until("broken", lambda pod: "ErrImagePull" in str(state(pod)))
    assert "undefined: azsecrets.NewClient" in state(pod)["waiting"]["message"]
    assert "msal-go.log" in (await cluster.event("broken", "Failed"))["message"]


async def test_image_pull_policy_never_does_not_build(cluster: Any, sample: Sample) -> None:
    install(cluster, GO)
    await cluster.run("never", {"name": "app", "image": sample.image, "imagePullPolicy": "Never"})
    pod = await cluster.until("never", lambda pod: "Never" in str(state(pod)))
    assert state(pod)["waiting"]["reason"] == "ErrImageNeverPull"
    assert not (cluster.folder / "builds").exists()


async def test_deleted_pod_stops_waiting_for_a_build(cluster: Any, sample: Sample) -> None:
    install(cluster, "#!/bin/sh\nexec sleep 600\n")
    await cluster.run("brief", {"name": "app", "image": sample.image})
    await cluster.event("brief", "Pulling")
    await cluster.client.delete("/api/v1/namespaces/default/pods/brief")
    await cluster.wait_until_deleted("brief")
