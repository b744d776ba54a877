"""The network of a pod that may change it."""

from podpass.local.pod_access import pod_network
from podpass.local.ports import SERVICES


def test_pod_reaches_the_services_of_the_instance_but_not_its_own_parts() -> None:
    ports = {name: 1000 + number for number, name in enumerate(SERVICES)}
    network = pod_network(ports, "127.254.1.2")
    reached = set(network.outbound)
    assert ("127.254.1.2", 443) in reached
    for name in ("gateway", "kubernetes", "authority", "vault"):
        assert ("127.0.0.1", ports[name]) in reached
    # The control API changes the instance; the webhook and the kubelet are called by the API server.
    for name in ("control", "webhook", "kubelet"):
        assert ("127.0.0.1", ports[name]) not in reached
    assert network.addresses == ("169.254.169.254",)
    assert "proxy-mode: env" in network.hint
