"""What requests to kubelets have in common: the address, the container, and the errors."""

from podpass.kubernetes.apiserver.kinds import kind_by_name
from podpass.kubernetes.apiserver.request import Request
from podpass.kubernetes.apiserver.status import StatusError, bad_request, internal
from podpass.kubernetes.apiserver.storage.storage import Object, ObjectStore

MAX_MESSAGE_BYTES = 1024
_ADDRESSES = ("InternalIP", "ExternalIP", "Hostname", "InternalDNS", "ExternalDNS")


def find_endpoint(store: ObjectStore, node_name: str) -> str:
    """Return the origin of the kubelet of a node.

    Errors:  StatusError 404, 500.
    """
    node = store.get(kind_by_name("Node"), "", node_name)
    if node is None:
        message = f'nodes "{node_name}" not found'
        raise StatusError(404, "NotFound", message, name=node_name, kind="pods")
    status = node.get("status") or {}
    port = (status.get("daemonEndpoints") or {}).get("kubeletEndpoint", {}).get("Port")
    found = {each.get("type"): each.get("address") for each in status.get("addresses") or ()}
    address = next((found[kind] for kind in _ADDRESSES if kind in found), None)
    if not address or not port:
        raise internal(f"node {node_name} reports no kubelet address and port")
    return f"https://[{address}]:{port}" if ":" in address else f"https://{address}:{port}"


def to_status_error(status: int, body: bytes) -> StatusError:
    """Return the error for a response of a kubelet."""
    message = body.decode(errors="replace").strip()
    if status == 400:
        return bad_request(message)
    if status == 404:
        return StatusError(404, "NotFound", message, details=True)
    return internal(message or f"the kubelet returned status {status}")


def choose_container(request: Request, pod: Object) -> str:
    """Return the container of a request: the named container, or the pod's only container."""
    spec, name = pod["spec"], request.info.name
    containers = [each["name"] for each in spec["containers"]]
    init_containers = [each["name"] for each in spec.get("initContainers") or ()]
    ephemeral_containers = [each["name"] for each in spec.get("ephemeralContainers") or ()]
    container = request.option("container")
    if not container and len(containers) == 1:
        return str(containers[0])
    if not container:
        message = f"a container name must be specified for pod {name}, choose one of: {containers}"
        raise bad_request(
            message
            + (f" or one of the init containers: {init_containers}" if init_containers else "")
        )
    if container not in (*containers, *init_containers, *ephemeral_containers):
        raise bad_request(f"container {container} is not valid for pod {name}")
    return container
