"""EndpointSlices through the API: the addresses of the pods of a Service."""

from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kubeling.controllers.endpoint_slices import arrange
from tests.controllers.workloads import (
    NAMESPACE,
    PODS,
    SETS,
    create,
    deployment,
    merge,
    pods,
    set_pod_status,
    until,
)

SERVICES = f"{NAMESPACE}/services"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"


def service(**port: Any) -> Any:
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80, **port}]}
    return {"metadata": {"name": "web"}, "spec": spec}


def addresses(body: Any) -> list[str]:
    return sorted(
        address
        for each in body["items"]
        for endpoint in each.get("endpoints", ())
        for address in endpoint["addresses"]
    )


async def running(live: Any, count: int) -> list[Any]:
    await create(live, SETS, deployment("web", count))
    found = await pods(live, "app=web", count)
    for at, pod in enumerate(found):
        ip = f"10.0.{at // 250}.{at % 250 + 1}"
        await set_pod_status(live, pod, "Running", ready=True, podIP=ip)
    return found


async def test_slice_has_the_pods_of_its_service_with_readiness(live: Any) -> None:
    await create(live, SERVICES, service())
    empty = await until(live, SLICES, lambda body: len(body["items"]) == 1)
    assert "endpoints" not in empty["items"][0] or not empty["items"][0]["endpoints"]
    first, _ = await running(live, 2)
    found = await until(live, SLICES, lambda body: addresses(body) == ["10.0.0.1", "10.0.0.2"])
    (one,) = found["items"]
    assert one["metadata"]["labels"]["kubernetes.io/service-name"] == "web"
    assert one["ports"] == [{"name": "", "protocol": "TCP", "port": 80}]
    assert one["endpoints"][0]["targetRef"]["uid"] == first["metadata"]["uid"]
    await set_pod_status(live, first, "Running", ready=False)
    await until(
        live,
        SLICES,
        lambda body: (
            [e["conditions"]["ready"] for e in body["items"][0]["endpoints"]] == [False, True]
        ),
    )


async def test_pod_without_the_label_is_not_an_endpoint(live: Any) -> None:
    await create(live, SERVICES, service())
    first, _ = await running(live, 2)
    await until(live, SLICES, lambda body: len(addresses(body)) == 2)
    path = f"{PODS}/{first['metadata']['name']}"
    await merge(live, path, {"metadata": {"labels": {"app": "debug"}}})
    await until(live, SLICES, lambda body: addresses(body) == ["10.0.0.2"])


async def pod_of_port(live: Any, name: str, number: int) -> Any:
    """Create a running pod whose port `http` has this number."""
    container = {"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": number}]}
    metadata = {"name": name, "labels": {"app": "web"}}
    made = await create(live, PODS, {"metadata": metadata, "spec": {"containers": [container]}})
    await set_pod_status(live, made, "Running", ready=True, podIP="10.0.0.1")
    return made


async def test_named_port_is_resolved_for_each_pod(live: Any) -> None:
    await create(live, SERVICES, service(targetPort="http"))
    for name, number in (("a", 8080), ("b", 9090)):
        await pod_of_port(live, name, number)
    found = await until(live, SLICES, lambda body: len(addresses(body)) == 2)
    assert sorted(each["ports"][0]["port"] for each in found["items"]) == [8080, 9090]


async def test_slice_keeps_its_ports_when_another_is_created(live: Any) -> None:
    """Fails if slices are replaced in the order of their names: for a short time a pod is in no slice."""
    await create(live, SERVICES, service(targetPort="http"))
    for number in (8082, 8083):
        await pod_of_port(live, f"p{number}", number)

    def ports(body: Any) -> dict[str, list[int]]:
        return {
            each["metadata"]["name"]: [port["port"] for port in each["ports"]]
            for each in body["items"]
        }

    before = ports(await until(live, SLICES, lambda body: len(addresses(body)) == 2))
    await pod_of_port(live, "p8081", 8081)
    after = ports(await until(live, SLICES, lambda body: len(addresses(body)) == 3))
    assert sorted(before.values()) == [[8082], [8083]]
    assert {**after, **before} == after


async def test_number_of_slices_follows_the_number_of_pods(live: Any) -> None:
    await create(live, SERVICES, service())
    await running(live, 120)
    found = await until(live, SLICES, lambda body: len(addresses(body)) == 120)
    assert sorted(len(each["endpoints"]) for each in found["items"]) == [20, 100]
    await merge(live, f"{SETS}/web", {"spec": {"replicas": 1}})
    await until(live, SLICES, lambda body: len(body["items"]) == 1 and len(addresses(body)) == 1)


async def test_slices_are_deleted_with_their_service(live: Any) -> None:
    await create(live, SERVICES, service())
    await until(live, SLICES, lambda body: len(body["items"]) == 1)
    await live.call("DELETE", f"{SERVICES}/web")
    await until(live, SLICES, lambda body: not body["items"])


async def test_deleted_slice_of_a_service_that_is_being_deleted_is_not_replaced(live: Any) -> None:
    """Fails if it is: the Service waits for the slice, and foreground deletion never ends."""
    held = service()
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await create(live, SERVICES, held)
    await until(live, SLICES, lambda body: len(body["items"]) == 1)
    await live.call("DELETE", f"{SERVICES}/web?propagationPolicy=Foreground")
    await until(
        live,
        f"{SERVICES}/web",
        lambda body: body["metadata"]["finalizers"] == ["example.com/hold"],
    )
    other = service()
    other["metadata"]["name"] = "written-later"
    await create(live, SERVICES, other)
    found = await until(live, SLICES, lambda body: body["items"])
    assert [each["metadata"]["generateName"] for each in found["items"]] == ["written-later-"]


async def test_service_without_a_selector_has_no_slices(live: Any) -> None:
    await create(live, SERVICES, {"metadata": {"name": "own"}, "spec": {"ports": [{"port": 80}]}})
    await create(live, SERVICES, service())
    found = await until(live, SLICES, lambda body: body["items"])
    assert [each["metadata"]["ownerReferences"][0]["name"] for each in found["items"]] == ["web"]


PODS_THAT_RUN = st.lists(st.frozensets(st.integers(0, 12)), min_size=2, max_size=6)


def by_ports(running: frozenset[int]) -> dict[Any, list[Any]]:
    found: dict[Any, list[Any]] = {}
    for number in sorted(running):
        ports = (("http", "TCP", 8080 + number % 2),)
        found.setdefault(ports, []).append({"targetRef": {"uid": f"pod {number}"}})
    return found


def writes(running: frozenset[int], live: dict[int, Any]) -> Iterator[None]:
    """Apply the writes for the desired slices, of at most three endpoints, one by one."""
    before = dict(live)
    for slice_, current in arrange(by_ports(running), list(live.values()), max_endpoints=3):
        number = max(live, default=0) + 1 if current is None else current["number"]
        before.pop(number, None)
        live[number] = {**slice_, "number": number}
        yield
    for number in before:
        del live[number]
        yield


def endpoint_uids(live: dict[int, Any]) -> list[str]:
    return sorted(one["targetRef"]["uid"] for each in live.values() for one in each["endpoints"])


@given(PODS_THAT_RUN)
def test_pod_is_always_in_exactly_one_slice(steps: list[frozenset[int]]) -> None:
    """Fails if slices are filled again from the first: a pod that is early in the order moves all others."""
    live: dict[int, Any] = {}
    before: frozenset[int] = frozenset()
    for running_now in steps:
        for _ in writes(running_now, live):
            found = endpoint_uids(live)
            assert len(found) == len(set(found))
            assert {f"pod {number}" for number in before & running_now} <= set(found)
        assert endpoint_uids(live) == sorted(f"pod {number}" for number in running_now)
        assert all(len(each["endpoints"]) <= 3 for each in live.values())
        assert len(live) == 1 or all(each["endpoints"] for each in live.values())
        for number in running_now:
            [one] = [each for each in live.values() if f"pod {number}" in endpoint_uids({0: each})]
            assert one["ports"] == [{"name": "http", "protocol": "TCP", "port": 8080 + number % 2}]
        before = running_now
