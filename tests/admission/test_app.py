"""The webhook over real TLS: what an API server sends and gets, and what else may come in."""

import base64
import io
import json
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from podpass import log, names
from podpass.admission.app import create_app
from podpass.serve import App, bind, server_tls, serving
from podpass.settings import WebhookSettings

Function = Callable[..., Any]
CLIENT = {names.CLIENT_ID: "client"}


class Endpoint:
    """A running webhook, asked as an API server asks it."""

    def __init__(self, session: aiohttp.ClientSession, url: str, tls: ssl.SSLContext) -> None:
        self._session, self._url, self._tls = session, url, tls

    async def send(
        self, body: bytes, content_type: str = "application/json", path: str = names.WEBHOOK_PATH
    ) -> tuple[int, bytes]:
        headers = {"content-type": content_type}
        url = self._url + path
        async with self._session.post(
            url, data=io.BytesIO(body), headers=headers, ssl=self._tls
        ) as answer:
            return answer.status, await answer.read()

    async def get(self, path: str) -> tuple[int, bytes]:
        async with self._session.get(self._url + path, ssl=self._tls) as answer:
            return answer.status, await answer.read()

    async def review(self, pod: Any, **request: Any) -> dict[str, Any]:
        document = {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {"uid": "u-1", "namespace": "default", "object": pod, **request},
        }
        return await self.answer(json.dumps(document).encode())

    async def answer(self, body: bytes, content_type: str = "application/json") -> dict[str, Any]:
        status, content = await self.send(body, content_type)
        assert status == 200, "the verdict is in the review, HTTP's own status stays 200"
        document = json.loads(content)
        assert document["kind"] == "AdmissionReview"
        return dict(document["response"])


class Forgetful:
    """An account source with a fault in it."""

    async def annotations(self, namespace: str, name: str) -> Mapping[str, str]:
        raise ZeroDivisionError(f"secret detail of {namespace}/{name}")


Start = Callable[[App], Any]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Serve an application over TLS until the test ends."""
    ca = trustme.CA()
    leaf = ca.issue_cert("localhost")
    leaf.cert_chain_pems[0].write_to_path(str(tmp_path / "leaf.pem"))
    leaf.private_key_pem.write_to_path(str(tmp_path / "leaf.key"))
    client = ssl.create_default_context()
    ca.configure_trust(client)
    contexts = []

    async def serve(app: App) -> Endpoint:
        sock = bind("127.0.0.1", 0)
        url = f"https://localhost:{sock.getsockname()[1]}"
        tls = server_tls(str(tmp_path / "leaf.pem"), str(tmp_path / "leaf.key"))
        server = serving(app, sock, tls)
        await server.__aenter__()
        session = aiohttp.ClientSession()
        contexts.append((session, server))
        return Endpoint(session, url, client)

    yield serve
    for session, server in contexts:
        await session.close()
        await server.__aexit__(None, None, None)


@pytest.fixture
async def webhook(start: Start, settings: WebhookSettings, known_accounts: Function) -> Endpoint:
    known = {"default/default": CLIENT, "default/plain": {}}
    endpoint: Endpoint = await start(create_app(settings, known_accounts(known)))
    return endpoint


@pytest.fixture
def logged() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Give the lines logged so far, as an operator would find them."""
    stream = io.StringIO()
    root = logging.getLogger("podpass")
    before = (root.handlers[:], root.level, root.propagate)
    log.configure(stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:], root.level, root.propagate = before


async def test_a_pod_is_mutated(
    webhook: Endpoint, make_pod: Function, mutating: Function, logged: Function
) -> None:
    response = await webhook.review(make_pod())
    assert (response["uid"], response["allowed"]) == ("u-1", True)
    assert json.loads(base64.b64decode(response["patch"])) == mutating(make_pod(), CLIENT)
    account, admission = (line for line in logged() if line.get("hop"))
    assert (account["stage"], admission["stage"]) == ("account", "admission")
    assert account["asked"] == "ServiceAccount default/default"
    assert account["client_id"] == "client"
    assert (admission["outcome"], admission["operations"]) == ("mutated", 3)
    for line in (account, admission):
        assert (line["pod"], line["namespace"], line["account"]) == ("app", "default", "default")
        assert line["correlation_id"] == "u-1"
        assert line["checked"]


async def test_a_pod_that_has_everything_is_allowed_without_a_patch(
    webhook: Endpoint, make_pod: Function, mutating: Function, applying: Function
) -> None:
    pod = make_pod()
    response = await webhook.review(applying(pod, mutating(pod, CLIENT)))
    assert response == {
        "uid": "u-1",
        "allowed": True,
        "status": {"metadata": {}, "code": 200},
    }


async def test_a_dry_run_is_answered_like_any_other(webhook: Endpoint, make_pod: Function) -> None:
    assert "patch" in await webhook.review(make_pod(), dryRun=True, operation="CREATE")


async def test_an_unknown_account_is_refused_and_found_once_it_is_there(
    start: Start, settings: WebhookSettings, known_accounts: Function, make_pod: Function
) -> None:
    accounts = known_accounts({})
    webhook = await start(create_app(settings, accounts))
    pod = make_pod(serviceAccountName="late")
    response = await webhook.review(pod)
    assert (response["allowed"], response["status"]["code"]) == (False, 400)
    assert "ServiceAccount default/late does not exist" in response["status"]["message"]
    assert "create it" in response["status"]["message"]
    accounts.known["default/late"] = CLIENT
    assert (await webhook.review(pod))["allowed"]


async def test_a_refusal_says_object_annotation_value_and_cure_and_is_logged(
    webhook: Endpoint, make_pod: Function, logged: Function
) -> None:
    response = await webhook.review(make_pod({names.TOKEN_EXPIRATION: "1h"}))
    message = response["status"]["message"]
    for part in ("Pod default/app", names.TOKEN_EXPIRATION, "'1h'", "from 3600 to 86400"):
        assert part in message
    (line,) = logged()
    assert (line["level"], line["event"], line["code"]) == (
        "warning",
        "account_refused",
        "bad_annotation",
    )
    assert line["outcome"] == "refused"
    assert line["correlation_id"] == "u-1"


async def test_a_taken_mount_path_is_refused_at_the_admission_hop(
    webhook: Endpoint, make_pod: Function, logged: Function
) -> None:
    mounts = [{"name": "own", "mountPath": names.MOUNT_PATH}]
    response = await webhook.review(make_pod(containers=[{"name": "web", "volumeMounts": mounts}]))
    assert response["status"]["code"] == 400
    assert [line["stage"] for line in logged()] == ["account", "admission"]


@pytest.mark.parametrize("operation", ["CREATE", "DELETE"])
async def test_a_null_object_is_refused(
    webhook: Endpoint, logged: Function, operation: str
) -> None:
    response = await webhook.review(None, operation=operation)
    assert (response["uid"], response["allowed"]) == ("u-1", False)
    assert response["status"]["code"] == 400
    assert logged()[-1]["code"] == "malformed_pod"


async def test_another_kind_of_object_is_refused(webhook: Endpoint) -> None:
    response = await webhook.review({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {}})
    assert (response["allowed"], response["status"]["code"]) == (False, 400)


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        (b"", "application/json", 400),
        (b"{}", "text/plain", 400),
        (b"nonsense", "application/json", 400),
        (b"{}", "application/json", 400),
        (b'{"request":{"object":{}}}', "application/json", 400),
        (b" " * (7 * 1024 * 1024), "application/json", 413),
        (b" " * 10_000_000, "application/json", 413),
    ],
)
async def test_what_is_no_review_is_refused_in_a_review(
    webhook: Endpoint, logged: Function, body: bytes, content_type: str, code: int
) -> None:
    response = await webhook.answer(body, content_type)
    assert (response["uid"], response["allowed"]) == ("", False)
    assert response["status"]["code"] == code
    assert logged()[-1]["event"] == "review_refused"


async def test_a_huge_pod_within_the_limit_is_served(webhook: Endpoint, make_pod: Function) -> None:
    pod = make_pod({f"example.com/{n}": "x" * 1000 for n in range(6000)})
    assert (await webhook.review(pod))["allowed"]


async def test_v1beta1_is_answered_in_v1beta1(webhook: Endpoint, make_pod: Function) -> None:
    document = {
        "apiVersion": "admission.k8s.io/v1beta1",
        "kind": "AdmissionReview",
        "request": {"uid": "u", "namespace": "default", "object": make_pod()},
    }
    _, content = await webhook.send(json.dumps(document).encode())
    assert json.loads(content)["apiVersion"] == "admission.k8s.io/v1beta1"


async def test_a_fault_of_ours_is_a_refusal_with_an_id_that_finds_it_in_the_log(
    start: Start, settings: WebhookSettings, make_pod: Function, logged: Function
) -> None:
    webhook = await start(create_app(settings, Forgetful()))
    response = await webhook.review(make_pod())
    assert (response["allowed"], response["status"]["code"]) == (False, 500)
    assert "u-1" in response["status"]["message"]
    assert "secret detail" not in response["status"]["message"]
    line = logged()[-1]
    assert (line["event"], line["correlation_id"]) == ("admission_failed", "u-1")
    assert "ZeroDivisionError" in line["traceback"]


async def test_probes_tell_life_from_readiness(
    start: Start, settings: WebhookSettings, known_accounts: Function
) -> None:
    ready: list[bool] = []
    webhook = await start(create_app(settings, known_accounts({}), ready=lambda: bool(ready)))
    assert await webhook.get("/healthz") == (200, b"ok")
    assert (await webhook.get("/readyz"))[0] == 500
    ready.append(True)
    assert await webhook.get("/readyz") == (200, b"ok")


async def test_other_paths_are_not_found(webhook: Endpoint) -> None:
    assert (await webhook.get("/"))[0] == 404
    assert (await webhook.send(b"{}", path="/mutate-v1-pod/"))[0] == 404
