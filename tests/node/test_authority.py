"""The token service on a real node: three replicas on PostgreSQL, and a pod that exchanges tokens."""

import json
import time
from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from tests.node.authority import (
    DEPLOYMENT,
    NAMESPACE,
    RELEASE,
    REPLICAS,
    SECONDS,
    Exchange,
    create_load_namespace,
    exchange_load,
    install,
    podpass,
    run_helm,
    wait_for_issued,
)
from tests.node.container_facts import read_facts
from tests.node.node import Node
from tests.node.sandbox import SandboxError, wait_until

# The connections of the load: one of each thread.
_CONNECTIONS = 4
_AFTERWARDS = 200
_DRAINED_IDLE_SECONDS = 0.9


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
    keys = podpass(authority, "authority", "keys")
    assert (keys.count(" active "), keys.count(" upcoming ")) == (1, 1)


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
    def rotated() -> bool:
        try:
            podpass(node, "authority", "rotate", "--at-once")
        except SandboxError as exc:
            if "the database is busy" not in str(
                exc
            ):  # as on an overloaded machine: an operator tries again
                raise
            return False
        return True

    wait_until(rotated, SECONDS, "the key is rotated")


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
    signing_keys: Container[int] = (1,)


_MANY = 10**6
_CHANGES = {
    # A killed replica ends the requests on its connections. It refuses new ones until kube-proxy knows.
    "killed-replica": Change(apply=_kill_replica, broken=_CONNECTIONS, unconnected=_MANY),
    # Each request gets an answer: 503 with Retry-After until the database is back.
    "killed-database": Change(apply=_kill_database, unavailable=_MANY),
    "rotated-key": Change(apply=_rotate_key, signing_keys=(2, 3)),
    "rolling-upgrade": Change(apply=_upgrade),
}


@pytest.mark.parametrize("name", _CHANGES)
def test_no_exchange_has_a_wrong_or_no_answer_while(
    authority: Node, name: str, record_property: Callable[[str, object], None]
) -> None:
    change = _CHANGES[name]
    with exchange_load(authority) as exchanged:
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
    assert len(_broken(found)) <= change.broken, _broken(found)
    assert figures["unconnected"] <= change.unconnected
    if not _database_was_slow(authority, started):
        assert figures["unavailable"] <= change.unavailable
    assert {each.result for each in found[-_CONNECTIONS:]} <= {"issued", "refused"}
    assert len({each.detail for each in found if each.result == "issued"}) in change.signing_keys


def _broken(found: list[Exchange]) -> list[str]:
    """Return the requests that got no response, except those on a connection that was idle for a long time.

    A draining replica closes a connection that sends nothing for a second, and an overloaded client may send
    at that moment. HTTP cannot prevent that; clients send such a request again.
    """
    broken = [each.detail for each in found if each.result == "broken"]
    return [detail for detail in broken if float(detail.split()[-3]) < _DRAINED_IDLE_SECONDS]


def _database_was_slow(node: Node, started: float) -> bool:
    """Return whether a replica logged that the database did not answer in time, as on an overloaded machine.

    An exchange then gets 503 with Retry-After, whatever else happens to the service.
    """
    selector = f"app.kubernetes.io/name={RELEASE}"
    since = f"--since-time={datetime.fromtimestamp(started, UTC).isoformat()}"
    log = node.kubectl("logs", "-n", NAMESPACE, "-l", selector, "--tail=-1", since)
    return any(cause in log for cause in ("no answer in time", "timeout expired"))


def _times(found: list[Exchange], started: float) -> dict[str, str]:
    """Return, for each other result with its detail, the seconds of its first and its last request."""
    result: dict[str, list[float]] = {}
    for each in found:
        if each.result not in ("issued", "refused"):
            what = f"{each.result} {each.detail}".strip()
            result.setdefault(what, []).append(each.at - started)
    return {key: f"{min(times):.1f} to {max(times):.1f} s" for key, times in result.items()}
