"""Pods that ask for the documentation's sample images."""

from podpass.local.samples.cache import COMPLETE, SampleCache
from podpass.local.samples.catalogue import by_name
from tests.kubernetes.kubelet.lab import Lab, state


async def test_a_pod_waits_for_its_sample_and_starts_by_itself_once_that_is_built(
    lab: Lab,
) -> None:
    sample = by_name("msal-go")
    assert sample is not None
    await lab.run("sample", {"name": "app", "image": f"{sample.image}:v1.6.0"})
    pod = await lab.until("sample", lambda pod: "Sample" in str(state(pod)))
    waiting = state(pod)["waiting"]
    assert waiting["reason"] == "SampleNotReady"
    assert sample.image in waiting["message"]
    assert waiting["message"].endswith("podpass image prepare msal-go")
    place = SampleCache(lab.folder / "samples", "").place(sample)
    place.mkdir(parents=True)
    (place / "sample").write_text('#!/bin/sh\necho "successfully got secret"\n')
    (place / "sample").chmod(0o755)
    (place / COMPLETE).touch()
    await lab.phase("sample", "Succeeded")
    assert await lab.log("sample") == "successfully got secret\n"
