"""Client for a running webhook that sends requests like an API server."""

import io
import json
import socket
import ssl
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from podpass import names


class Endpoint:
    """One webhook, over TLS."""

    def __init__(self, session: aiohttp.ClientSession, url: str, ca_pem: bytes) -> None:
        self._session, self._tls = session, ssl.create_default_context(cadata=ca_pem.decode())
        self.url, self.ca_pem = url, ca_pem

    def connect(self) -> ssl.SSLSocket:
        """Open a connection to send and receive bytes; it blocks."""
        to = urlsplit(self.url)
        assert to.hostname is not None
        plain = socket.create_connection(("127.0.0.1", to.port), timeout=30)
        return self._tls.wrap_socket(plain, server_hostname=to.hostname)

    async def send(
        self, body: bytes, content_type: str = "application/json", path: str = names.WEBHOOK_PATH
    ) -> tuple[int, bytes]:
        headers = {"content-type": content_type}
        url = self.url + path
        async with self._session.post(
            url, data=io.BytesIO(body), headers=headers, ssl=self._tls
        ) as answer:
            return answer.status, await answer.read()

    async def get(self, path: str) -> tuple[int, bytes]:
        async with self._session.get(self.url + path, ssl=self._tls) as answer:
            return answer.status, await answer.read()

    async def review(
        self, pod: Any, *, path: str = names.WEBHOOK_PATH, **request: Any
    ) -> dict[str, Any]:
        document = {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {"uid": "u-1", "namespace": "default", "object": pod, **request},
        }
        return await self.answer(json.dumps(document).encode(), path=path)

    async def answer(
        self, body: bytes, content_type: str = "application/json", path: str = names.WEBHOOK_PATH
    ) -> dict[str, Any]:
        status, content = await self.send(body, content_type, path)
        assert status == 200, "the decision is in the review; the HTTP status is always 200"
        document = json.loads(content)
        assert document["kind"] == "AdmissionReview"
        return dict(document["response"])
