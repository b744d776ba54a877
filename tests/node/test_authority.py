"""The token service on a real node: three replicas on PostgreSQL, and a pod that exchanges tokens."""

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.node.authority import (
    DEPLOYMENT,
    NAMESPACE,
    RELEASE,
    REPLICAS,
    SECONDS,
    Exchange,
    create_load_namespace,
    exchanging,
    install,
    podpass,
    run_helm,
    wait_for_issued,
)
from tests.node.container_facts import read_facts
from tests.node.node import Node
from tests.node.sandbox import wait_until

# The connections of the load: one of each thread.
_CONNECTIONS = 4
_AFTERWARDS = 200


@pytest.fixture(scope="module")
def authority(node: Node) -> Node:
    install(node)
    create_load_namespace(node)
    return node


def _running(node: Node) -> list[str]:
    selector = f"app.kubernetes.io/name={RELEASE}"
    pods = node.get("pods", "-n", NAMESPACE, "-l", selector)["items"]
    return [
        each["metadata"]["name"] for each in pods if "deletionTimestamp" not in each["metadata"]
    ]


def test_helm_test_passes_and_the_seed_is_applied(authority: Node) -> None:
    output = authority.helm("test", RELEASE, "--namespace", NAMESPACE, "--timeout", "180s")
    assert "Phase:          Succeeded" in output
    log = authority.kubectl("logs", "-n", NAMESPACE, f"job/{RELEASE}-seed")
    assert "orders" in log
    assert "signing" in podpass(authority, "authority", "keys")


def test_replicas_run_restricted(authority: Node) -> None:
    names = _running(authority)
    assert len(names) == REPLICAS
    for name in names:
        facts = read_facts(authority, NAMESPACE, name)
        assert (facts.user, facts.capabilities) == (65532, 0)
        assert facts.no_new_privileges
        assert facts.has_seccomp
        assert facts.root_is_read_only


def _kill_replica(node: Node) -> None:
    (first, *_) = _running(node)
    _kill(node, NAMESPACE, first)


def _kill_database(node: Node) -> None:
    _kill(node, "database", "database")


def _kill(node: Node, namespace: str, name: str) -> None:
    """Kill the pod's container with SIGKILL, and wait until the kubelet has started another that is ready."""

    def status() -> tuple[int, bool]:
        (found,) = node.get("pod", name, "-n", namespace)["status"]["containerStatuses"]
        return found["restartCount"], found["ready"]

    restarts, _ = status()
    node.kill_container(namespace, name)
    wait_until(lambda: status() == (restarts + 1, True), SECONDS, f"{name} is ready again")


def _rotate_key(node: Node) -> None:
    podpass(node, "authority", "rotate", "--at-once")


def _upgrade(node: Node) -> None:
    before = set(_running(node))
    run_helm(node, "upgrade", "--set", "drainSeconds=21")
    node.wait_for("rollout", "status", "-n", NAMESPACE, DEPLOYMENT, seconds=SECONDS)
    assert not before & set(_running(node))


@dataclass(frozen=True, kw_only=True)
class Change:
    """What happens to the service, and how many requests may have each other result than `issued`."""

    apply: Callable[[Node], None]
    broken: int = 0
    unconnected: int = 0
    unavailable: int = 0
    signing_keys: int = 1


_MANY = 10**6
_CHANGES = {
    # A killed replica ends the requests on its connections. It refuses new ones until kube-proxy knows.
    "killed-replica": Change(apply=_kill_replica, broken=_CONNECTIONS, unconnected=_MANY),
    # Each request gets an answer: 503 with Retry-After until the database is back.
    "killed-database": Change(apply=_kill_database, unavailable=_MANY),
    "rotated-key": Change(apply=_rotate_key, signing_keys=2),
    "rolling-upgrade": Change(apply=_upgrade),
}


@pytest.mark.parametrize("name", _CHANGES)
def test_no_exchange_has_a_wrong_or_no_answer_while(
    authority: Node, name: str, record_property: Callable[[str, object], None]
) -> None:
    change = _CHANGES[name]
    with exchanging(authority) as exchanged:
        before = len(exchanged())
        started = time.time()
        change.apply(authority)
        ended = time.time()
        wait_for_issued(exchanged, _AFTERWARDS, "tokens are issued afterwards")
        found = exchanged()
    figures = Counter(each.result for each in found)
    record_property("figures", json.dumps(figures))
    print(name, dict(figures), f"{ended - started:.1f} s", _times(found, started))
    assert before > 0
    assert [each.detail for each in found if each.result == "wrong"] == []
    assert figures["refused"] > 0
    assert figures["broken"] <= change.broken
    assert figures["unconnected"] <= change.unconnected
    assert figures["unavailable"] <= change.unavailable
    assert {each.result for each in found[-_CONNECTIONS:]} <= {"issued", "refused"}
    assert len({each.detail for each in found if each.result == "issued"}) == change.signing_keys


def _times(found: list[Exchange], started: float) -> dict[str, str]:
    """Return, for each result but `issued`, the seconds of its first and its last request."""
    result: dict[str, list[float]] = {}
    for each in found:
        if each.result not in ("issued", "refused"):
            result.setdefault(each.result, []).append(each.at - started)
    return {key: f"{min(times):.1f} to {max(times):.1f} s" for key, times in result.items()}
