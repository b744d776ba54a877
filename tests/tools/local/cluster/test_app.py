"""The edge: what comes in wrong is refused in the API's own words."""

from typing import Any


async def test_a_namespace_an_account_and_a_pod_can_be_made_read_and_deleted(live: Any) -> None:
    made = await live.call("POST", "/api/v1/namespaces", {"metadata": {"name": "one"}})
    assert made.status == 201, made.text
    pods = "/api/v1/namespaces/default/pods"
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    made = await live.call("POST", pods, pod)
    assert made.status == 201, made.text
    assert made.body["spec"]["serviceAccountName"] == "default"
    found = await live.call("GET", pods)
    assert [item["metadata"]["name"] for item in found.body["items"]] == ["p"]
    gone = await live.call("DELETE", pods + "/p")
    assert gone.status == 200
    assert (await live.call("GET", pods + "/p")).status == 404
