"""Resolve the Service of a webhook to the address of one of its pods, without the network of Services.

The real API server sends the request to the address of the Service, and the network sends it to a pod.
"""

import base64
import binascii
import functools
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

from kubeling.apiserver.admission.webhook_response import WebhookFailed
from kubeling.apiserver.kinds import kind_by_name
from kubeling.apiserver.storage.storage import Object, ObjectStore

_SERVICE_LABEL = "kubernetes.io/service-name"
_TCP = "TCP"


def resolve(store: ObjectStore, namespace: str, name: str, port: int) -> str:
    """Return the address and port of the first ready pod of a Service: `127.0.0.1:8443`.

    Raises WebhookFailed.
    """
    service = store.get(kind_by_name("Service"), namespace, name)
    if service is None:
        raise WebhookFailed(f'service "{name}" not found')
    ports = service["spec"].get("ports") or ()
    found = next((each for each in ports if each["port"] == port), None)
    if found is None:
        raise WebhookFailed(f'no service port {port} found for service "{name}"')
    for pod, number in ready_pods(store, namespace, name, found.get("name") or ""):
        address = pod["status"]["podIP"]
        return f"[{address}]:{number}" if ":" in address else f"{address}:{number}"
    raise WebhookFailed(f'no endpoints available for service "{name}"')


@functools.lru_cache(32)
def tls_context(bundle: str, *, verify: bool = True) -> ssl.SSLContext:
    """Return the TLS context for a caBundle; an empty one has the CAs of the system. Raises WebhookFailed."""
    try:
        pem = base64.b64decode(bundle, validate=False).decode()
        context = ssl.create_default_context(cadata=pem or None)
    except (binascii.Error, ValueError, ssl.SSLError) as exc:
        raise WebhookFailed("the caBundle contains no valid certificate") from exc
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def ready_pods(
    store: ObjectStore, namespace: str, name: str, port_name: str
) -> Iterator[tuple[Object, int]]:
    """Yield the pod of each ready endpoint of a port of a Service, with the number of its port.

    Users write EndpointSlices: without the pod, an endpoint could be a program of the machine.
    """
    pods = kind_by_name("Pod")
    for endpoint, number in _ready_endpoints(store, namespace, name, port_name):
        reference = endpoint.get("targetRef") or {}
        pod = store.get(pods, namespace, reference.get("name") or "")
        if pod is None or reference.get("kind") != "Pod":
            continue
        has_address = (pod.get("status") or {}).get("podIP") == endpoint["addresses"][0]
        if has_address and may_connect(pod, number):
            yield pod, number


def may_connect(pod: Object, port: int) -> bool:
    """Return whether a request may be sent to a port of a pod.

    Of a pod at the address of the machine, only the declared ports belong to the pod: at the others, programs
    of the machine listen. The real API server refuses loopback addresses.
    """
    status = pod.get("status") or {}
    address = status.get("podIP")
    is_own = address != status.get("hostIP") and not pod["spec"].get("hostNetwork")
    return bool(address) and (is_own or port in declared_ports(pod))


def declared_ports(pod: Object) -> Iterator[int]:
    """Yield the TCP ports that the containers of a pod declare."""
    for container in pod["spec"]["containers"]:
        for port in container.get("ports") or ():
            if port.get("protocol", _TCP) == _TCP:
                yield port["containerPort"]


def _ready_endpoints(
    store: ObjectStore, namespace: str, name: str, port_name: str
) -> Iterator[tuple[Object, int]]:
    """Yield the ready endpoints of a port of a Service, each with the number of its port."""
    for stored in store.list_stored(kind_by_name("EndpointSlice"), namespace):
        each = stored.object()
        labels = each["metadata"].get("labels") or {}
        # Names are not resolved, as in kube-proxy: a user could choose `localhost`.
        if labels.get(_SERVICE_LABEL) != name or each["addressType"] == "FQDN":
            continue
        numbers = [port["port"] for port in each.get("ports") or () if _is_named(port, port_name)]
        for endpoint in (each.get("endpoints") or ()) if numbers else ():
            # A condition that is not set counts as true.
            if (endpoint.get("conditions") or {}).get("ready") is not False:
                yield endpoint, numbers[0]


def _is_named(port: Mapping[str, Any], name: str) -> bool:
    is_usable = port.get("port") is not None and port.get("protocol", _TCP) == _TCP
    return is_usable and (port.get("name") or "") == name
