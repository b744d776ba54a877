"""Direct calls of the instance's APIs as its administrator, on the addresses that need no gateway."""

import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from tests.journey.instance import Instance

# The Azure CLI's client id: a public client, so a password alone is enough to sign in.
_CLIENT = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
ARM, GRAPH = "https://management.azure.com/", "https://graph.microsoft.com/"
VAULT = "https://vault.azure.net"


@dataclass
class RestClient:
    """Sends requests with the administrator's tokens."""

    instance: Instance
    _tokens: dict[str, str] = field(default_factory=dict)

    def token(self, resource: str) -> str:
        """Sign in with the administrator's password; return a token for the resource."""
        if resource not in self._tokens:
            admin, tenant = self.instance.status["admin"], self.instance.status["tenant_id"]
            form = {
                "grant_type": "password",
                "client_id": _CLIENT,
                "scope": f"{resource}/.default openid",
                **admin,
            }
            url = f"{self.instance.status['authority'].rstrip('/')}/{tenant}/oauth2/v2.0/token"
            status, answer = self._send("POST", url, urllib.parse.urlencode(form).encode(), {})
            assert status == 200, answer
            self._tokens[resource] = answer["access_token"]
        return self._tokens[resource]

    def __call__(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> tuple[int, Any]:
        """Send a request: to Graph for paths below /v1.0 and /beta, otherwise to Resource Manager."""
        resource = GRAPH if path.startswith(("/v1.0", "/beta")) else ARM
        url = self.instance.status["resource_manager"].rstrip("/") + path
        data = None if body is None else json.dumps(body).encode()
        bearer = {"authorization": f"Bearer {self.token(resource)}"}
        return self._send(method, url, data, {**bearer, "content-type": "application/json"})

    def _send(
        self, method: str, url: str, data: bytes | None, headers: dict[str, str]
    ) -> tuple[int, Any]:
        context = ssl.create_default_context(cafile=self.instance.status["ca_file"])
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, context=context, timeout=30) as answer:
                text = answer.read()
                return answer.status, json.loads(text) if text else None
        except urllib.error.HTTPError as exc:
            return exc.code, json.loads(exc.read())
