"""ResourceQuota and LimitRange: defaults, bounds, usage and refusals, through the API."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from kubeling import quantity
from kubeling.apiserver.status import StatusError
from kubeling.controllers.client import ControllerClient
from tests.controllers.workloads import (
    CLAIMS,
    DEPLOYMENTS,
    NAMESPACE,
    PODS,
    SETS,
    condition,
    create,
    deployment,
    get,
    merge,
    until,
)

QUOTAS = f"{NAMESPACE}/resourcequotas"
LIMITS = f"{NAMESPACE}/limitranges"
SECRETS = f"{NAMESPACE}/secrets"
SERVICES = f"{NAMESPACE}/services"


def pod(name: str, requests: Any = None, limits: Any = None, **spec: Any) -> Any:
    resources = {"requests": requests or {}, "limits": limits or {}}
    container = {"name": "c", "image": "i:1", "resources": resources}
    return {"metadata": {"name": name}, "spec": {"containers": [container], **spec}}


async def quota(live: Any, hard: Any, name: str = "q", **spec: Any) -> Any:
    body = {"metadata": {"name": name}, "spec": {"hard": hard, **spec}}
    await create(live, QUOTAS, body)
    return await until(live, f"{QUOTAS}/{name}", lambda found: "used" in found["status"])


async def used(live: Any, name: str = "q") -> Any:
    return (await get(live, f"{QUOTAS}/{name}"))["status"]["used"]


async def refused(live: Any, path: str, body: Any) -> str:
    done = await live.call("POST", path, body)
    assert done.status == 403, done.text
    assert done.body["reason"] == "Forbidden"
    return str(done.body["message"])


async def test_usage_follows_the_objects_of_the_namespace(live: Any) -> None:
    hard = {"secrets": "2", "count/configmaps": "10", "pods": "3", "requests.cpu": "1"}
    found = await quota(live, hard)
    assert found["status"]["hard"] == hard
    assert found["status"]["used"] == {
        "secrets": "0",
        "count/configmaps": "1",  # kube-root-ca.crt
        "pods": "0",
        "requests.cpu": "0",
    }
    await create(live, SECRETS, {"metadata": {"name": "a"}})
    await create(live, PODS, pod("p", {"cpu": "250m"}))
    assert await used(live) == {
        "secrets": "1",
        "count/configmaps": "1",
        "pods": "1",
        "requests.cpu": "250m",
    }
    await live.call("DELETE", f"{SECRETS}/a")
    await live.call("DELETE", f"{PODS}/p?gracePeriodSeconds=0")
    empty = {"secrets": "0", "pods": "0", "requests.cpu": "0"}
    await until(live, f"{QUOTAS}/q", lambda found: empty.items() <= found["status"]["used"].items())


async def test_object_over_the_quota_is_refused_with_the_amounts(live: Any) -> None:
    await quota(live, {"pods": "2", "requests.cpu": "1", "limits.memory": "1Gi"})
    await create(live, PODS, pod("a", {"cpu": "600m"}, {"memory": "512Mi"}))
    message = await refused(live, PODS, pod("b", {"cpu": "500m"}, {"memory": "768Mi"}))
    assert message == (
        'pods "b" is forbidden: exceeded quota: q, requested: limits.memory=768Mi,requests.cpu=500m, '
        "used: limits.memory=512Mi,requests.cpu=600m, limited: limits.memory=1Gi,requests.cpu=1"
    )
    # A refused and a dry-run request use nothing.
    path = f"{PODS}?dryRun=All"
    assert (await live.call("POST", path, pod("b", {"cpu": "1m"}, {"memory": "1"}))).status == 201
    assert (await used(live))["pods"] == "1"


async def test_requests_at_the_same_time_do_not_exceed_the_quota(live: Any) -> None:
    """Fails if a write does not charge the quota: the controller counts only after all of them."""
    await quota(live, {"secrets": "3"})
    writer = ControllerClient(live.cluster.registry, live.cluster.deletion_handler, "test")

    async def write(at: int) -> int:
        try:
            metadata = {"name": f"s{at}", "namespace": "default"}
            await writer.create("Secret", {"metadata": metadata})
        except StatusError as exc:
            return exc.status
        return 201

    done = await asyncio.gather(*(write(at) for at in range(8)))
    assert sorted(done) == [201] * 3 + [403] * 5
    assert await used(live) == {"secrets": "3"}


async def test_name_that_exists_uses_no_quota(live: Any) -> None:
    await quota(live, {"secrets": "5"})
    await create(live, SECRETS, {"metadata": {"name": "a"}})
    assert (await live.call("POST", SECRETS, {"metadata": {"name": "a"}})).status == 409
    assert await used(live) == {"secrets": "1"}


async def test_container_must_set_the_resources_of_the_quota(live: Any) -> None:
    await quota(live, {"requests.cpu": "1", "limits.cpu": "2"})
    message = await refused(live, PODS, pod("p"))
    assert message == (
        'pods "p" is forbidden: failed quota: q: must specify limits.cpu for: c; requests.cpu for: c'
    )


async def test_ended_pod_uses_only_its_object(live: Any) -> None:
    await quota(live, {"pods": "1", "count/pods": "5"})
    await create(live, PODS, pod("a"))
    await merge(live, f"{PODS}/a/status", {"status": {"phase": "Succeeded"}})
    await until(live, f"{QUOTAS}/q", lambda found: found["status"]["used"]["pods"] == "0")
    await create(live, PODS, pod("b"))
    assert await used(live) == {"pods": "1", "count/pods": "2"}


@pytest.mark.parametrize(
    ("scope", "inside", "outside"),
    [
        ("BestEffort", pod("p"), pod("o", {"cpu": "1"})),
        ("NotBestEffort", pod("p", {"cpu": "1"}), pod("o")),
        ("Terminating", pod("p", activeDeadlineSeconds=60), pod("o")),
        ("NotTerminating", pod("p"), pod("o", activeDeadlineSeconds=60)),
        ("PriorityClass", pod("p", priorityClassName="system-node-critical"), pod("o")),
    ],
)
async def test_scope_selects_pods(live: Any, scope: str, inside: Any, outside: Any) -> None:
    if scope == "PriorityClass":
        term = {"scopeName": scope, "operator": "In", "values": ["system-node-critical"]}
        await quota(live, {"pods": "1"}, scopeSelector={"matchExpressions": [term]})
    else:
        await quota(live, {"pods": "1"}, scopes=[scope])
    await create(live, PODS, outside)
    assert await used(live) == {"pods": "0"}
    await create(live, PODS, inside)
    assert await used(live) == {"pods": "1"}
    await refused(live, PODS, {**inside, "metadata": {"name": "another"}})


async def test_services_and_claims_use_ports_and_storage(live: Any) -> None:
    await quota(
        live,
        {
            "services": "2",
            "services.nodeports": "1",
            "requests.storage": "5Gi",
            "fast.storageclass.storage.k8s.io/requests.storage": "1Gi",
        },
    )
    ports = [{"port": 80}]
    await create(live, SERVICES, {"metadata": {"name": "a"}, "spec": {"ports": ports}})
    await merge(live, f"{SERVICES}/a", {"spec": {"type": "NodePort"}})
    assert (await used(live))["services.nodeports"] == "1"
    node_port = {"metadata": {"name": "b"}, "spec": {"type": "NodePort", "ports": ports}}
    assert "services.nodeports=1" in await refused(live, SERVICES, node_port)
    resources = {"requests": {"storage": "1Gi"}}
    spec = {"accessModes": ["ReadWriteOnce"], "resources": resources, "storageClassName": "fast"}
    await create(live, CLAIMS, {"metadata": {"name": "a"}, "spec": spec})
    found = await used(live)
    assert found["requests.storage"] == "1Gi"
    await refused(live, CLAIMS, {"metadata": {"name": "b"}, "spec": spec})
    await create(
        live, CLAIMS, {"metadata": {"name": "b"}, "spec": {**spec, "storageClassName": ""}}
    )


async def test_claim_is_bound_with_its_capacity_and_a_warning(live: Any) -> None:
    resources = {"requests": {"storage": "1Gi"}}
    spec = {"accessModes": ["ReadWriteOnce"], "resources": resources}
    made = await live.call("POST", CLAIMS, {"metadata": {"name": "a"}, "spec": spec})
    assert "this cluster provisions no volumes" in made.warnings[0]
    found = await until(live, f"{CLAIMS}/a", lambda each: each["status"]["phase"] == "Bound")
    assert found["status"]["capacity"] == {"storage": "1Gi"}
    volume = f"pvc-{found['metadata']['uid']}"
    table = await live.call("GET", CLAIMS, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    [row] = table.body["rows"]
    assert row["cells"][:5] == ["a", "Bound", volume, "1Gi", "RWO"]


async def test_deployment_reports_the_pods_that_the_quota_refuses(live: Any) -> None:
    await quota(live, {"pods": "1"})
    await create(live, DEPLOYMENTS, deployment("web", 2))
    found = await until(live, f"{DEPLOYMENTS}/web", lambda each: condition(each, "ReplicaFailure"))
    assert "exceeded quota: q" in condition(found, "ReplicaFailure")["message"]
    await merge(live, f"{QUOTAS}/q", {"spec": {"hard": {"pods": "2"}}})
    await until(
        live, SETS, lambda body: all(each["status"].get("replicas") == 2 for each in body["items"])
    )


async def limit_range(live: Any, **item: Any) -> None:
    body = {"metadata": {"name": "l"}, "spec": {"limits": [{"type": "Container", **item}]}}
    await create(live, LIMITS, body)


async def test_limit_range_defaults_the_resources_of_containers(live: Any) -> None:
    await limit_range(
        live, default={"cpu": "500m"}, defaultRequest={"cpu": "100m"}, max={"memory": "1Gi"}
    )
    found = await get(live, f"{LIMITS}/l")
    assert found["spec"]["limits"][0]["default"] == {"cpu": "500m", "memory": "1Gi"}
    assert found["spec"]["limits"][0]["defaultRequest"] == {"cpu": "100m", "memory": "1Gi"}
    made = await create(live, PODS, pod("p", {"cpu": "200m"}))
    assert made["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "200m", "memory": "1Gi"},
        "limits": {"cpu": "500m", "memory": "1Gi"},
    }
    assert made["status"]["qosClass"] == "Burstable"
    assert made["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: memory request for container c; cpu, memory limit for container c"
    )


@pytest.mark.parametrize(
    ("item", "requests", "limits", "message"),
    [
        (
            {"max": {"cpu": "1"}, "default": {"cpu": "1"}},
            {"cpu": "1"},
            {"cpu": "2"},
            "maximum cpu usage per Container is 1, but limit is 2",
        ),
        (
            {"min": {"memory": "64Mi"}},
            {"memory": "32Mi"},
            {},
            "minimum memory usage per Container is 64Mi, but request is 32Mi",
        ),
        (
            {"type": "Pod", "max": {"cpu": "1"}},
            {},
            {},
            "maximum cpu usage per Pod is 1.  No limit is specified",
        ),
        (
            {"maxLimitRequestRatio": {"cpu": "2"}},
            {"cpu": "100m"},
            {"cpu": "300m"},
            "cpu max limit to request ratio per Container is 2, but provided ratio is 3",
        ),
        (
            {"type": "Pod", "min": {"cpu": "1"}, "max": {"cpu": "1"}},
            {"cpu": "500m"},
            {"cpu": "2"},
            (
                "[minimum cpu usage per Pod is 1, but request is 500m, "
                "maximum cpu usage per Pod is 1, but limit is 2]"
            ),
        ),
    ],
)
async def test_pod_outside_the_bounds_is_refused(
    live: Any, item: Any, requests: Any, limits: Any, message: str
) -> None:
    await limit_range(live, **item)
    text = await refused(live, PODS, pod("p", requests, limits))
    assert text == f'pods "p" is forbidden: {message}'


async def test_claim_outside_the_bounds_is_refused(live: Any) -> None:
    await limit_range(
        live, type="PersistentVolumeClaim", min={"storage": "1Gi"}, max={"storage": "2Gi"}
    )
    for amount, status in (("512Mi", 403), ("1Gi", 201), ("3Gi", 403)):
        resources = {"requests": {"storage": amount}}
        spec = {"accessModes": ["ReadWriteOnce"], "resources": resources}
        body = {"metadata": {"name": f"c{amount.lower()}"}, "spec": spec}
        assert (await live.call("POST", CLAIMS, body)).status == status


async def test_sidecars_count_with_containers_and_init_containers_by_the_largest(live: Any) -> None:
    def container(name: str, cpu: str, **more: Any) -> Any:
        return {"name": name, "image": "i", "resources": {"requests": {"cpu": cpu}}, **more}

    await quota(live, {"requests.cpu": "10"})
    sidecar = container("s", "1", restartPolicy="Always")
    init = [sidecar, container("i", "4"), container("j", "2")]
    body = {
        "metadata": {"name": "p"},
        "spec": {"initContainers": init, "containers": [container("c", "2")]},
    }
    await create(live, PODS, body)
    assert await used(live) == {"requests.cpu": "5"}


@pytest.mark.parametrize(
    ("path", "spec", "fields"),
    [
        (QUOTAS, {"hard": {"pods": "-1"}}, ["spec.hard[pods]"]),
        (QUOTAS, {"hard": {"pods": "1500m"}}, ["spec.hard[pods]"]),
        (QUOTAS, {"scopes": ["BestEffort", "NotBestEffort"]}, ["spec.scopes"]),
        (QUOTAS, {"scopes": ["Other"]}, ["spec.scopes[0]"]),
        (
            LIMITS,
            {"limits": [{"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}}]},
            ["spec.limits[0].min[cpu]"],
        ),
        (
            LIMITS,
            {"limits": [{"type": "Pod", "default": {"cpu": "1"}}]},
            ["spec.limits[0].default"],
        ),
        (
            LIMITS,
            {"limits": [{"type": "Container", "maxLimitRequestRatio": {"cpu": "500m"}}]},
            ["spec.limits[0].maxLimitRequestRatio[cpu]"],
        ),
        (CLAIMS, {}, ["spec.accessModes", "spec.resources[storage]"]),
    ],
)
async def test_invalid_object_is_refused(live: Any, path: str, spec: Any, fields: Any) -> None:
    done = await live.call("POST", path, {"metadata": {"name": "x"}, "spec": spec})
    assert done.status == 422, done.text
    assert [each["field"] for each in done.body["details"]["causes"]] == fields


@pytest.mark.parametrize(
    ("value", "like", "text"),
    [
        ("0", "1Gi", "0"),
        ("1.5", "", "1500m"),
        ("2000", "", "2k"),
        ("1536", "1Ki", "1536"),
        ("67108864", "1Gi", "64Mi"),
        ("67108864", "1G", "67108864"),
        ("512", "1Gi", "512"),
    ],
)
def test_quantity_has_the_largest_suffix(value: str, like: str, text: str) -> None:
    assert quantity.canonical(Decimal(value), like) == text
    assert quantity.parse(text) == Decimal(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((text, 0) for text in ("", "x", "1Zi", "1.2.3", "1ki", None)),
        *((text, 1000) for text in ("1k", "1e3", "1000000m", "0.001M")),
        ("0.5Gi", 2**29),
        ("0.1n", "1e-9"),
        ("-1e-400", "-1e-9"),
        *((f"1{exponent}", 2**63 - 1) for exponent in ("e400", "E999999", f"e{'9' * 4000}", "0E")),
        (f"-1e{'9' * 4000}", 1 - 2**63),
        (f"0e{'9' * 4000}", 0),
    ],
)
def test_quantity_is_bounded_and_rounded_up(text: Any, value: Any) -> None:
    assert quantity.parse(text) == Decimal(value)


async def test_huge_quantities_are_counted_as_the_greatest_one(live: Any) -> None:
    """Fails without the bound: the sum raises an error, or takes hours."""
    await quota(live, {"requests.cpu": "1e999999", "requests.memory": "1"})
    amounts = {"cpu": "1e400", "memory": "1e-999999999"}
    await create(live, PODS, pod("one", amounts))
    await until(live, f"{QUOTAS}/q", lambda found: found["status"]["used"]["requests.cpu"] != "0")
    assert await used(live) == {"requests.cpu": str(2**63 - 1), "requests.memory": "1n"}
    message = await refused(live, PODS, pod("two", {**amounts, "memory": "0"}))
    assert "exceeded quota: q, requested: requests.cpu=9223372036854775807" in message


async def test_pod_gets_the_overhead_and_the_scheduling_of_its_runtime_class(live: Any) -> None:
    await quota(live, {"requests.cpu": "1", "limits.cpu": "1"})
    toleration = {"key": "kata", "operator": "Exists"}
    body: Any = {
        "metadata": {"name": "kata"},
        "handler": "kata",
        "overhead": {"podFixed": {"cpu": "250m", "memory": "1Mi"}},
        "scheduling": {"nodeSelector": {"vm": "yes"}, "tolerations": [toleration]},
    }
    await create(live, "/apis/node.k8s.io/v1/runtimeclasses", body)
    amounts = {"cpu": "100m"}
    given = pod("one", amounts, amounts, runtimeClassName="kata", nodeSelector={"a": "b"})
    spec = (await create(live, PODS, given))["spec"]
    assert spec["overhead"] == body["overhead"]["podFixed"]
    assert spec["nodeSelector"] == {"a": "b", "vm": "yes"}
    assert toleration in spec["tolerations"]
    assert await used(live) == {"requests.cpu": "350m", "limits.cpu": "350m"}
    for changes, reason in (
        ({"runtimeClassName": "none"}, 'pod rejected: RuntimeClass "none" not found'),
        ({"overhead": {"cpu": "1m"}}, "pod rejected: Pod's Overhead doesn't match"),
        (
            {"runtimeClassName": "kata", "nodeSelector": {"vm": "no"}},
            "conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm]",
        ),
    ):
        message = await refused(live, PODS, pod("two", amounts, amounts, **changes))
        assert f'pods "two" is forbidden: {reason}' in message
