"""Exchange a pod's token all the time, until SIGTERM; print a line for each request: its time and its result.

`exchange_load.py ORIGIN TENANT API REFUSED CLIENT ...`. Each client trusts the pod's ServiceAccount, and the
refused client does not. It runs in a pod without podpass: PyJWT checks the tokens.

Results: `issued KID` for a correct token, `refused` for the refused client, `unavailable` for 503 with
Retry-After, `unconnected` if no connection was opened, `broken` if a connection ended without a response,
and `wrong` for everything else. Nothing is sent again, so no failure is hidden.
"""

import http.client
import itertools
import json
import os
import signal
import ssl
import sys
import threading
import time
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import jwt

_THREADS = 4
_PAUSE_SECONDS, _UNAVAILABLE_SECONDS = 0.02, 0.5
# A client also opens new connections; the Service leads each to any replica.
_REQUESTS_PER_CONNECTION = 25
_REQUESTS_PER_REFUSED = 20
_UNTRUSTED_SUBJECT, _UNAVAILABLE = 700213, 90033
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Load:
    """The requests of all threads, and the published keys."""

    def __init__(self, origin: str, tenant: str, api: str) -> None:
        self._origin, self._tenant, self._api = origin, tenant, api
        self._tls = ssl.create_default_context()
        self._keys: dict[str, Any] = {}

    def run(self, clients: list[str], refused_client: str) -> None:
        """Send requests on one connection after the other; the last one of each round is refused."""
        connection, used = self._connect(), time.monotonic()
        for number in itertools.count(1):
            refused = number % _REQUESTS_PER_REFUSED == 0
            client = refused_client if refused else clients[number % len(clients)]
            if connection is None or number % _REQUESTS_PER_CONNECTION == 0:
                if connection is not None:
                    connection.close()
                connection, used = self._connect(), time.monotonic()
            if connection is None:
                time.sleep(_PAUSE_SECONDS)
                continue
            began = time.monotonic()
            try:
                said = self._exchange(connection, client, is_refused=refused)
            except (OSError, http.client.HTTPException) as exc:
                # The idle time tells whether the service may have closed the connection at this moment.
                said = f"broken {type(exc).__name__} after {began - used:.1f} s idle"
                connection.close()
                connection = None
            used = time.monotonic()
            _print(said)
            time.sleep(_UNAVAILABLE_SECONDS if said == "unavailable" else _PAUSE_SECONDS)

    def _connect(self) -> http.client.HTTPSConnection | None:
        host = urlsplit(self._origin).netloc
        connection = http.client.HTTPSConnection(host, context=self._tls, timeout=30)
        try:
            connection.connect()
        except OSError as exc:
            _print(f"unconnected {type(exc).__name__}")
            return None
        return connection

    def _exchange(
        self, connection: http.client.HTTPSConnection, client: str, *, is_refused: bool
    ) -> str:
        with open(os.environ["AZURE_FEDERATED_TOKEN_FILE"]) as file:  # noqa: PTH123 for each request
            assertion = file.read()
        form = {
            "grant_type": "client_credentials",
            "client_id": client,
            "scope": f"{self._api}/.default",
            "client_assertion_type": _ASSERTION,
            "client_assertion": assertion,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", f"/{self._tenant}/oauth2/v2.0/token", urlencode(form), headers)
        response = connection.getresponse()
        found = json.loads(response.read())
        if response.status == 503 and response.headers["Retry-After"]:
            return "unavailable" if found["error_codes"] == [_UNAVAILABLE] else f"wrong {found}"
        if is_refused:
            return (
                "refused" if found.get("error_codes") == [_UNTRUSTED_SUBJECT] else "wrong refusal"
            )
        if response.status != 200:
            return f"wrong {response.status} {found.get('error_description')}"
        return self._check(found["access_token"], client)

    def _check(self, token: str, client: str) -> str:
        kid = str(jwt.get_unverified_header(token)["kid"])
        deadline = time.monotonic() + 60
        while kid not in self._keys and time.monotonic() < deadline:
            self._fetch_keys()
        issuer = f"{self._origin}/{self._tenant}/v2.0"
        try:
            claims = jwt.decode(
                token, self._keys[kid], ["RS256"], audience=self._api, issuer=issuer, leeway=5
            )
        except (jwt.PyJWTError, KeyError) as exc:
            return f"wrong {type(exc).__name__} {exc}"
        expected = {"azp": client, "tid": self._tenant}
        wrong = {name: claims.get(name) for name in expected if claims.get(name) != expected[name]}
        return f"wrong {wrong}" if wrong else f"issued {kid}"

    def _fetch_keys(self) -> None:
        url = f"{self._origin}/{self._tenant}/discovery/v2.0/keys"
        try:
            with urllib.request.urlopen(url, context=self._tls, timeout=30) as response:
                keys: Mapping[str, Any] = json.load(response)
        except OSError:
            time.sleep(_UNAVAILABLE_SECONDS)  # the published keys are unavailable with the database
            return
        self._keys = {each["kid"]: jwt.PyJWK(each) for each in keys["keys"]}


def _print(said: str) -> None:
    os.write(1, f"{time.time():.3f} {said}\n".encode())


def main() -> None:
    """Run the threads until SIGTERM."""
    origin, tenant, api, refused_client, *clients = sys.argv[1:]
    load = Load(origin, tenant, api)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    for _ in range(_THREADS):
        threading.Thread(target=load.run, args=(clients, refused_client), daemon=True).start()
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
