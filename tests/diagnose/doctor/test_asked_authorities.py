"""A program that ignores AZURE_AUTHORITY_HOST is found by the hosts that it asked the gateway for."""

from dataclasses import replace
from typing import Any

import pytest

from podpass.diagnose.doctor.asked_authorities import AskedAuthorities
from podpass.diagnose.doctor.checks import examine
from podpass.diagnose.doctor.model import AskedAuthority, Facts
from podpass.diagnose.explain.recognition import recognize
from podpass.diagnose.trace.assignment import HopAssigner
from podpass.kubernetes.objects import Preview
from podpass.log import AUTHORITY_NOT_SERVED
from tests.diagnose.doctor.broken_cluster import STOPPED, build_status
from tests.diagnose.doctor.test_cloud_checks import CLOUD, _cluster
from tests.diagnose.trace.test_hop import hop

START, LATER = "2026-01-02T03:00:00", "2026-01-02T03:00:00.500Z"
ASKED: dict[str, Any] = {
    "event": AUTHORITY_NOT_SERVED,
    "outcome": AUTHORITY_NOT_SERVED,
    "host": "login.microsoftonline.us",
    "is_authority": True,
    "source": "127.0.0.1",
    "time": LATER,
    "cause": "given login.microsoftonline.com, asked login.microsoftonline.us",
    "fix": "change `environment`",
}
POD = {"namespace": "default", "pod": "web", "account": "web", "uid": "u"}
SIGNED = {"stage": "assertion", "outcome": "signed", "token_sha256": "a", **POD}
GRANTED = {"outcome": "granted", "token_sha256": "a"}


def find(*hops: dict[str, Any], address: str = "127.9.9.9", state: str = "ended") -> list[str]:
    """Return the fixes that doctor reports for the other authority."""
    status = build_status("app", STOPPED[state] if state else {"running": {}}, restarts=0)
    late = {"podIP": address, "startTime": "2026-01-02T03:00:01Z"}
    pod = {"status": {**status, **late}, "metadata": {"creationTimestamp": f"{START}Z"}}
    cluster = replace(_cluster(), namespace_name="default", pod_name="web", pod=pod)
    asked = AskedAuthorities(HopAssigner().assign_all(hop(**each) for each in hops)).find(cluster)
    found = examine(Facts(cluster=cluster, cloud=replace(CLOUD, asked=asked))).findings
    return [each.fix for each in found if each.check == "authority-not-asked"]


@pytest.mark.parametrize("state", ["ended", ""])
def test_other_authority_of_a_pod_with_its_own_address_is_reported(state: str) -> None:
    asked = {**ASKED, "source": "10.1.2.3"}
    assert find(asked, address="10.1.2.3", state=state) == ["change `environment`"]
    assert find(asked, address="10.1.2.4", state=state) == []


@pytest.mark.parametrize(
    ("log", "is_shown"),
    [
        ("<urlopen error Tunnel connection failed: 502 Bad Gateway>", False),
        ("https://login.microsoftonline.us/ oauth2: Connection refused", False),
        # Errors that another authority does not cause.
        ("SecretNotFound: A secret with (name/id) absent was not found in this key vault", True),
        ("AADSTS53003: blocked. Then https://login.microsoftonline.us/: Connection refused", True),
    ],
)
@pytest.mark.parametrize("is_variable", [True, False])
def test_error_that_a_wrong_authority_causes_is_not_a_second_finding(
    log: str, is_shown: bool, is_variable: bool
) -> None:
    status = build_status("app", STOPPED["ended"], restarts=0)
    own = {"AZURE_AUTHORITY_HOST": "https://login.example.com/"} if is_variable else {}
    cluster = _cluster(**own)
    assert isinstance(cluster.preview, Preview)
    cluster = replace(
        cluster,
        pod={**(cluster.preview.pod or {}), "status": status},
        log=recognize(log),
        authority_container="app" if is_variable else "",
    )
    asked = AskedAuthority(source="127.9.9.9", cause="asked another", fix="change it")
    found = examine(Facts(cluster=cluster, cloud=replace(CLOUD, asked=asked))).findings
    symptoms = [each.check for each in found if each.check.startswith("container-")]
    assert symptoms == (["container-error"] if is_shown else [])
    cause = "authority-of-other-cloud" if is_variable else "authority-not-asked"
    assert cause in [each.check for each in found]


def test_other_authority_of_a_shared_address_is_reported_for_a_failing_pod_only() -> None:
    """Else a healthy pod would be blamed for the request of another one."""
    assert find(ASKED) == ["change `environment`"]
    assert find(ASKED, state="") == []
    assert find(ASKED, SIGNED, GRANTED) == []
    assert find({**ASKED, "time": "2026-01-02T02:59:59.900Z"}) == []
    assert find({**ASKED, "source": "10.1.2.3"}) == []
    authorities = [{"container": "app", "asked": "https://login.microsoftonline.us/"}]
    admitted = {"stage": "admission", **POD, "pod": "other", "authorities": authorities}
    assert find(admitted, ASKED) == []


@pytest.mark.parametrize("address", ["10.1.2.3", "127.64.0.9"])
def test_pods_that_ask_the_same_host_differ_by_their_addresses(address: str) -> None:
    """The variable of another pod does not explain the request of a program that ignores its own."""
    authorities = [{"container": "app", "asked": "https://login.microsoftonline.us/"}]
    admitted = {"stage": "admission", **POD, "pod": "other", "authorities": authorities}
    asked = {**ASKED, "source": address}
    assert find(admitted, asked, address=address) == ["change `environment`"]
    assert find(asked) == []


def test_hop_of_a_host_that_two_pods_have_is_of_no_known_pod() -> None:
    authorities = [{"container": "app", "asked": "https://login.microsoftonline.us/"}]
    admitted = {"stage": "admission", **POD, "authorities": authorities}
    for other, owner in (("web", "web"), ("other", "")):
        hops = (admitted, {**admitted, "pod": other}, admitted, ASKED)
        *_, last = HopAssigner().assign_all(hop(**each) for each in hops)
        assert last.workload.pod == owner
