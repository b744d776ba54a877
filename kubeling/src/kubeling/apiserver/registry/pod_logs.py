"""The `pods/log` subresource: passes on the log of a container from the kubelet of the pod's node."""

from urllib.parse import quote, urlencode

from kubeling import int64
from kubeling.apiserver.read.listing import get_object
from kubeling.apiserver.registry import kubelets
from kubeling.apiserver.registry.kubelets import Kubelets
from kubeling.apiserver.request import Request
from kubeling.apiserver.response import TEXT, Response, StreamResponse
from kubeling.apiserver.status import Cause, CauseType, invalid_options, not_a_number
from kubeling.apiserver.storage.storage import ObjectStore

_PARAMETERS = (
    *("follow", "previous", "sinceSeconds", "sinceTime", "timestamps"),
    *("tailLines", "limitBytes", "stream"),
)
_MINIMUMS = {"tailLines": 0, "limitBytes": 1, "sinceSeconds": 1}


class PodLogHandler:
    """Reads container logs from kubelets."""

    def __init__(self, store: ObjectStore, apps: Kubelets) -> None:
        self._store, self._apps = store, apps

    async def open(self, request: Request) -> Response | StreamResponse:
        """Start to stream a log. Raises StatusError 400, 404, 422, 500."""
        pod = get_object(self._store, request)
        _check_parameters(request)
        container = kubelets.choose_container(request, pod)
        node_name = pod["spec"].get("nodeName")
        if not node_name:
            # The pod has no node yet: the log is empty, which is not an error.
            return Response(204, b"", "")
        app = kubelets.find_app(self._store, self._apps, node_name)
        names = (*request.namespaced_name, container)
        path = "/containerLogs/" + "/".join(quote(part, safe="") for part in names)
        query = {name: request.option(name) for name in _PARAMETERS if request.option(name)}
        return StreamResponse(200, await kubelets.read(app, path, urlencode(query)), TEXT)


def _check_parameters(request: Request) -> None:
    causes = []
    for name, minimum in _MINIMUMS.items():
        text = request.option(name)
        if not text:
            continue
        if (number := int64.parse(text)) is None:
            raise not_a_number(name, text)
        if number < minimum:
            reason = f"must be greater than or equal to {minimum}"
            causes.append(Cause(CauseType.INVALID, reason, name))
    if causes:
        raise invalid_options("PodLogOptions", causes, group="", name=request.info.name)
