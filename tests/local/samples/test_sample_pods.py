"""Pods with the sample images of the documentation."""

import pytest

from podpass.local.samples.cache import COMPLETE, SampleCache
from podpass.local.samples.catalogue import find_by_name
from tests.kubernetes.kubelet.cluster import KubeletCluster, state
from tests.kubernetes.kubelet.conftest import bare_cluster, ca, cluster, ring  # noqa: F401 fixtures

pytestmark = pytest.mark.processes


async def test_pod_waits_for_its_sample_and_starts_once_the_sample_is_built(
    cluster: KubeletCluster,  # noqa: F811 a fixture
) -> None:
    sample = find_by_name("msal-go")
    assert sample is not None
    await cluster.run("sample", {"name": "app", "image": f"{sample.image}:v1.6.0"})
    pod = await cluster.until("sample", lambda pod: "Sample" in str(state(pod)))
    waiting = state(pod)["waiting"]
    assert waiting["reason"] == "SampleNotReady"
    assert sample.image in waiting["message"]
    assert waiting["message"].endswith("podpass image prepare msal-go")
    place = SampleCache(cluster.folder / "samples", "").build_folder(sample)
    place.mkdir(parents=True)
    (place / "sample").write_text('#!/bin/sh\necho "successfully got secret"\n')
    (place / "sample").chmod(0o755)
    (place / COMPLETE).touch()
    await cluster.phase("sample", "Succeeded")
    assert await cluster.log("sample") == "successfully got secret\n"
