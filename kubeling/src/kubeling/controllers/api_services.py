"""APIService controller: report whether the Service of an APIService can be reached."""

from typing import Any

from kubeling.apiserver.admission import service_resolver
from kubeling.apiserver.admission.webhook_response import WebhookFailed
from kubeling.apiserver.kinds import kind_by_name
from kubeling.apiserver.storage.storage import Object
from kubeling.clock import rfc3339
from kubeling.controllers.client import ControllerClient

_KIND = kind_by_name("APIService")
# Endpoints change without a change of the APIService.
_PERIOD_SECONDS = 2.0


class APIServiceController:
    """Reconciles the Available condition of APIServices."""

    def __init__(self, client: ControllerClient) -> None:
        self._client = client

    async def reconcile(self, _: str, name: str) -> float | None:
        """Set the Available condition; return the delay until the next check."""
        store = self._client.store
        found = store.get(_KIND, "", name)
        if found is None:
            return None
        status = found.get("status") or {}
        conditions = status.get("conditions") or []
        before: Object = next((each for each in conditions if each["type"] == "Available"), {})
        available, reason, message = self._check(found["spec"].get("service"))
        wanted = {"status": available, "reason": reason, "message": message}
        if wanted != {key: before.get(key) for key in wanted}:
            changed = before.get("status") != available
            time = rfc3339(self._client.now) if changed else before["lastTransitionTime"]
            others = [each for each in conditions if each is not before]
            made = {"type": "Available", "lastTransitionTime": time, **wanted}
            found["status"] = {**status, "conditions": [*others, made]}
            store.update(_KIND, found, int(found["metadata"]["resourceVersion"]))
        return _PERIOD_SECONDS

    def _check(self, service: Any) -> tuple[str, str, str]:
        """Return the status, the reason and the message of the condition."""
        if not service:
            return "True", "Local", "Local APIServices are always available"
        namespace, name, port = service["namespace"], service["name"], service.get("port", 443)
        if self._find(namespace, name) is None:
            return "False", "ServiceNotFound", f'service "{namespace}/{name}" is not present'
        try:
            service_resolver.resolve(self._client.store, namespace, name, port)
        except WebhookFailed as exc:
            return "False", "MissingEndpoints", exc.message
        return "True", "Passed", "all checks passed"

    def _find(self, namespace: str, name: str) -> Object | None:
        return self._client.store.get(kind_by_name("Service"), namespace, name)
