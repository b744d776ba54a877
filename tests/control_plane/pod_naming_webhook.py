"""A second webhook, called after ours: it names pods that have no name and adds a container."""

import base64
import json
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from podpass.http.server import bind, read_body, respond, serving
from tests.control_plane.background_loop import BackgroundLoop
from tests.lab.instance.kubectl import Kubectl
from tests.webhook_entries import build_entry, create_certificate

NAME = "named-by-another"
LABEL = {"naming": "yes"}
_CONFIGURATION = "z-naming"  # webhooks are called in the order of their names


class PodNamingWebhook:
    """The second webhook, registered for pods with LABEL while the context is active."""

    def __init__(self, kubectl: Kubectl, folder: Path) -> None:
        self.asked = 0
        self._kubectl, self._folder = kubectl, folder
        self._background, self._stack = BackgroundLoop(), AsyncExitStack()

    def __enter__(self) -> Self:
        bundle, tls = create_certificate(self._folder, "127.0.0.1")
        sock = bind("127.0.0.1", 0)
        self._background.run(self._stack.enter_async_context(serving(self._app, sock, tls)))
        client = {"url": f"https://127.0.0.1:{sock.getsockname()[1]}/", "caBundle": bundle}
        self._kubectl("apply", "-f", "-", given=json.dumps(_configuration(client)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._kubectl("delete", "mutatingwebhookconfiguration", _CONFIGURATION)
        self._background.run(self._stack.aclose())
        self._background.close()

    async def _app(self, _scope: Any, receive: Any, send: Any) -> None:
        review = json.loads(await read_body(receive, 1 << 22))
        self.asked += 1
        pod = review["request"]["object"]
        late = {"name": "late", "image": "none"}
        steps = [{"op": "add", "path": "/spec/containers/-", "value": late}]
        if not pod["metadata"].get("name"):
            steps.append({"op": "add", "path": "/metadata/name", "value": NAME})
        response = {"uid": review["request"]["uid"], "allowed": True, "patchType": "JSONPatch"}
        response["patch"] = base64.b64encode(json.dumps(steps).encode()).decode()
        body = {"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response}
        kind = ((b"content-type", b"application/json"),)
        await respond(send, 200, json.dumps(body).encode(), kind)


def _configuration(client: dict[str, str]) -> dict[str, Any]:
    selector = {"matchLabels": LABEL}
    hook = build_entry("naming.example.com", client, "pods", objectSelector=selector)
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": _CONFIGURATION},
        "webhooks": [hook],
    }
