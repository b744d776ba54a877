"""The network of a pod that may change it."""

from podpass.lab.cluster.pod_access import pod_network
from podpass.lab.data.ports import SERVICES


def test_pod_reaches_the_services_of_the_instance_but_not_its_own_parts() -> None:
    ports = {name: 1000 + number for number, name in enumerate(SERVICES)}
    network = pod_network(ports, "127.254.1.2", 2000)
    reached = network.outbound
    # A key of `outbound` would be in use in the pod, which may serve HTTPS on all its addresses.
    assert network.shared == ("127.254.1.2", 443)
    assert all(port != 443 for _, port in reached)
    for name in ("kubernetes", "authority", "vault"):
        address = ("127.0.0.1", ports[name])
        assert reached[address] == address
    # The control API changes the instance; the webhook and the kubelet are called by the API server.
    for name in ("control", "webhook", "kubelet"):
        assert ("127.0.0.1", ports[name]) not in reached
    # The usual gateway connects to addresses of the machine.
    assert reached["127.0.0.1", ports["gateway"]] == ("127.0.0.1", 2000)
    assert ("127.0.0.1", ports["gateway"]) not in reached.values()
    custom = pod_network(ports, "127.254.1.2", 2000, "https://localhost:3000").outbound
    assert custom.items() - reached.items() == {(("127.0.0.1", 3000), ("127.0.0.1", 3000))}
    assert network.addresses == ("169.254.169.254",)
    assert "proxy-mode: env" in network.hint
