"""A second webhook, called after ours: it names pods that have no name and adds a container."""

import base64
import json
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import trustme

from podpass.http.server import bind, read_body, respond, server_tls, serving
from tests.control_plane.background_loop import BackgroundLoop
from tests.lab.instance.kubectl import Kubectl

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
        authority = trustme.CA()
        leaf = authority.issue_cert("127.0.0.1")
        certificate, key = self._folder / "naming.pem", self._folder / "naming.key"
        leaf.cert_chain_pems[0].write_to_path(str(certificate))
        leaf.private_key_pem.write_to_path(str(key))
        sock = bind("127.0.0.1", 0)
        server = serving(self._app, sock, server_tls(str(certificate), str(key)))
        self._background.run(self._stack.enter_async_context(server))
        bundle = base64.b64encode(authority.cert_pem.bytes()).decode()
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
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["pods"],
    }
    hook = {
        "name": "naming.example.com",
        "clientConfig": client,
        "rules": [rule],
        "objectSelector": {"matchLabels": LABEL},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": _CONFIGURATION},
        "webhooks": [hook],
    }
