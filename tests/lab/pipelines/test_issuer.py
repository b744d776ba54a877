"""The request protocols of GitHub and Azure DevOps, and the documents of local issuers."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest

from podpass import names
from podpass.assertion.keys import KeyRing, KeyRingError
from podpass.crypto import jose
from podpass.directory.resources import EXCHANGE_APP_ID
from podpass.errors import Error, UsageError
from podpass.http.fetcher import Fetcher, FetchError, FetchRules
from podpass.lab.data.disk_errors import DiskNotWritable
from podpass.lab.pipelines.issuer import PATH, EntraSigner, PipelineIssuer
from podpass.lab.pipelines.platforms import parse_job
from tests import rsa_keys

NOW = 1_800_000_000
GITHUB = "github:contoso/app:ref:refs/heads/main"
DEVOPS = "azure-devops:contoso/project/connection"
BASE = "https://localhost:1"
TENANT, ID = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
KEY = jose.SigningKey(kid="entra", key=rsa_keys.KEY)
ENTRA = EntraSigner(tenant_id=TENANT, sign=KEY.sign)


class Caller:
    """Sends requests to the issuer as an ASGI application."""

    def __init__(self, issuer: PipelineIssuer) -> None:
        self.issuer = issuer
        self.passed_on: list[str] = []
        self._app = issuer.wrap(self._other)

    async def _other(self, scope: Any, _receive: Any, send: Any) -> None:
        self.passed_on.append(scope["path"])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(self, method: str, url: str, token: str | None) -> tuple[int, Any]:
        parts = urlsplit(url)
        headers = [] if token is None else [(b"authorization", f"Bearer {token}".encode())]
        scope = {
            "type": "http",
            "method": method,
            "path": parts.path,
            "query_string": parts.query.encode(),
            "headers": headers,
        }
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b""}

        async def send(message: Any) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        body = sent[1]["body"]
        return sent[0]["status"], json.loads(body) if body else None


@pytest.fixture
def now() -> list[float]:
    return [NOW]


@pytest.fixture
def caller(tmp_path: Path, now: list[float]) -> Caller:
    KeyRing(tmp_path, (), lambda: now[0]).rotate(rsa_keys.KEY)
    platforms = ("github", "azure-devops", "gitlab", "terraform")
    return Caller(PipelineIssuer(tmp_path, lambda: platforms, BASE, lambda: now[0], ENTRA))


def read(caller: Caller, token: str) -> dict[str, Any]:
    """Verify a token as the token service does: by the documents of its issuer."""
    issuer = jwt.decode(token, options={"verify_signature": False})["iss"]
    document = caller.issuer.find_document(f"{issuer}/.well-known/openid-configuration")
    assert document is not None
    assert document["issuer"] == issuer
    keys = caller.issuer.find_document(document["jwks_uri"])
    assert keys is not None
    [key] = jwt.PyJWKSet.from_dict(keys).keys
    options = {"verify_aud": False, "verify_exp": False, "verify_iat": False, "verify_nbf": False}
    found: dict[str, Any] = jwt.decode(token, key, algorithms=["RS256"], options=options)  # type: ignore[arg-type]
    return found


async def test_github_job_gets_tokens_for_the_audiences_that_it_asks_for(caller: Caller) -> None:
    job = caller.issuer.start_job(GITHUB)
    url, bearer = job["ACTIONS_ID_TOKEN_REQUEST_URL"], job["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
    status, body = await caller.send("GET", f"{url}&audience=api%3A%2F%2FX", bearer)
    assert (status, list(body)) == (200, ["value"])
    claims = read(caller, body["value"])
    assert (claims["aud"], claims["sub"]) == ("api://X", parse_job(GITHUB).subject)
    assert (claims["iat"], claims["exp"]) == (NOW, NOW + 300)
    _, body = await caller.send("GET", url, bearer)
    assert read(caller, body["value"])["aud"] == "https://github.com/contoso"
    # The variables of Terraform's providers are the same.
    assert (job["ARM_OIDC_REQUEST_URL"], job["ARM_OIDC_REQUEST_TOKEN"]) == (url, bearer)


async def test_tokens_of_a_job_have_the_shorter_lifetime_that_it_was_started_with(
    caller: Caller,
) -> None:
    job = caller.issuer.start_job(GITHUB, "30")
    url, bearer = job["ACTIONS_ID_TOKEN_REQUEST_URL"], job["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
    _, body = await caller.send("GET", url, bearer)
    assert read(caller, body["value"])["exp"] == NOW + 30
    gitlab = caller.issuer.start_job("gitlab:contoso/app:ref_type:branch:ref:main", "1")
    assert read(caller, gitlab["GITLAB_OIDC_TOKEN"])["exp"] == NOW + 1


@pytest.mark.parametrize("seconds", ["0", "301", "-1", "1e9", "x"])
def test_lifetime_that_the_platform_does_not_have_is_refused(caller: Caller, seconds: str) -> None:
    with pytest.raises(UsageError) as refused:
        caller.issuer.start_job(GITHUB, seconds)
    assert refused.value.hint == "--token-seconds can be 1 to 300"


async def test_azure_devops_job_gets_tokens_of_its_service_connection_alone(caller: Caller) -> None:
    job = caller.issuer.start_job(DEVOPS)
    url, bearer = job["SYSTEM_OIDCREQUESTURI"], job["SYSTEM_ACCESSTOKEN"]
    connection = job["AZURESUBSCRIPTION_SERVICE_CONNECTION_ID"]
    query = f"?api-version=7.1&serviceConnectionId={connection}"
    status, body = await caller.send("POST", url + query, bearer)
    assert (status, list(body)) == (200, ["oidcToken"])
    claims = read(caller, body["oidcToken"])
    assert (claims["aud"], claims["exp"]) == (names.EXCHANGE_AUDIENCE, NOW + 600)
    other = query.replace(connection, "00000000-0000-0000-0000-000000000000")
    assert (await caller.send("POST", url + other, bearer))[0] == 404
    assert (await caller.send("POST", url, bearer))[0] == 404


async def test_connection_of_ids_gets_tokens_that_the_tenant_issues(caller: Caller) -> None:
    job = caller.issuer.start_job(f"azure-devops:{ID}/{ID.upper()}")
    query = f"?serviceConnectionId={ID}"
    url, bearer = job["SYSTEM_OIDCREQUESTURI"] + query, job["SYSTEM_ACCESSTOKEN"]
    _, body = await caller.send("POST", url, bearer)
    claims = jose.parse(body["oidcToken"]).claims
    assert claims["iss"] == f"https://login.microsoftonline.com/{TENANT}/v2.0"
    tenant, client = "EREREREREUGBEREREREREQ", "rISbSSETf0KqFyZ8ppdXmA"
    assert claims["sub"] == f"/eid1/c/pub/t/{tenant}/a/{client}/sc/{ID}/{ID}"
    assert (claims["aud"], claims["tid"]) == (EXCHANGE_APP_ID, TENANT)
    assert jose.parse(body["oidcToken"]).header["kid"] == "entra"


def test_other_platforms_have_their_token_in_a_variable(caller: Caller) -> None:
    gitlab = caller.issuer.start_job("gitlab:contoso/app:ref_type:branch:ref:main")
    assert read(caller, gitlab["GITLAB_OIDC_TOKEN"])["exp"] == NOW + 300
    terraform = caller.issuer.start_job("terraform:contoso/net/prod:run_phase:plan")
    claims = read(caller, terraform["TFC_WORKLOAD_IDENTITY_TOKEN"])
    assert claims["sub"].endswith(":run_phase:plan")


async def test_only_a_current_request_token_of_the_platform_is_accepted(
    caller: Caller, now: list[float]
) -> None:
    job = caller.issuer.start_job(GITHUB)
    url, bearer = job["ACTIONS_ID_TOKEN_REQUEST_URL"], job["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
    _, body = await caller.send("GET", url, bearer)
    kid = jwt.get_unverified_header(bearer)["kid"]
    forged = jose.SigningKey(kid=kid, key=rsa_keys.OTHER_KEY)
    claims = jwt.decode(bearer, options={"verify_signature": False})
    of_platform = jose.SigningKey(kid=kid, key=rsa_keys.KEY).sign(
        {**claims, "iss": parse_job(GITHUB).issuer}
    )
    devops = caller.issuer.start_job(DEVOPS)["SYSTEM_ACCESSTOKEN"]
    # None, no token, a token of a job, two with other signer or issuer, one of another platform.
    for other in (None, "x", body["value"], forged.sign(claims), of_platform, devops):
        assert (await caller.send("GET", url, other))[0] == 401
    now[0] += 6 * 3600
    assert (await caller.send("GET", url, bearer))[0] == 401


async def test_wrong_requests_are_refused_and_other_paths_are_passed_on(caller: Caller) -> None:
    job = caller.issuer.start_job(GITHUB)
    url, bearer = job["ACTIONS_ID_TOKEN_REQUEST_URL"], job["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
    assert (await caller.send("POST", url, bearer))[0] == 405
    assert (await caller.send("GET", f"{url}&audience={'x' * 2000}", bearer))[0] == 400
    assert (await caller.send("GET", f"{BASE}{PATH}/jenkins", bearer))[0] == 404
    assert (await caller.send("GET", f"{BASE}/subscriptions", bearer))[0] == 204
    assert caller.passed_on == ["/subscriptions"]


@pytest.mark.parametrize(
    "url",
    [
        "https://token.actions.githubusercontent.com/octo/.well-known/openid-configuration",
        "http://token.actions.githubusercontent.com/.well-known/openid-configuration",
        "https://gitlab.example.com/.well-known/openid-configuration",
        "https://vstoken.dev.azure.com/.well-known/openid-configuration",
        "https://token.actions.githubusercontent.com/.well-known/other",
    ],
)
def test_documents_of_other_issuers_are_not_answered(caller: Caller, url: str) -> None:
    assert caller.issuer.find_document(url) is None


async def test_request_for_a_platform_that_is_not_enabled_creates_no_keys(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    issuer = PipelineIssuer(folder, lambda: ("gitlab",), BASE, lambda: NOW, ENTRA)
    token = KEY.sign({"iss": "podpass:pipelines", "sub": GITHUB, "seconds": "", "exp": NOW + 9})
    for method, platform in (("GET", "github"), ("POST", "azure-devops"), ("GET", "gitlab")):
        assert (await Caller(issuer).send(method, f"{BASE}{PATH}/{platform}", token))[0] == 404
    assert issuer.end_jobs() is False
    assert not folder.exists()


async def test_ended_jobs_get_no_tokens_and_a_new_job_does(caller: Caller) -> None:
    before = caller.issuer.start_job(GITHUB)
    url, bearer = before["ACTIONS_ID_TOKEN_REQUEST_URL"], before["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
    _, body = await caller.send("GET", url, bearer)
    assert caller.issuer.end_jobs() is True
    assert (await caller.send("GET", url, bearer))[0] == 401
    with pytest.raises(jwt.InvalidSignatureError):
        read(caller, body["value"])
    bearer = caller.issuer.start_job(GITHUB)["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
    assert (await caller.send("GET", url, bearer))[0] == 200


def test_platform_that_the_user_did_not_enable_is_refused(tmp_path: Path) -> None:
    issuer = PipelineIssuer(tmp_path, lambda: ("gitlab",), BASE, lambda: NOW, ENTRA)
    with pytest.raises(UsageError) as refused:
        issuer.start_job(GITHUB)
    assert "--pipelines github,gitlab" in refused.value.hint
    github = "https://token.actions.githubusercontent.com/.well-known/openid-configuration"
    assert issuer.find_document(github) is None


def fail_with_damaged_key(*_: object) -> KeyRing:
    raise KeyRingError("000001.pem is not a numbered RSA private key", path="000001.pem")


def fail_with_full_disk(*_: object) -> KeyRing:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "000001.pem")


@pytest.mark.parametrize(
    ("open_ring", "error", "cause"),
    [
        (fail_with_damaged_key, KeyRingError, "000001.pem is not a numbered RSA private key"),
        (fail_with_full_disk, DiskNotWritable, "the disk is full: 000001.pem"),
    ],
)
async def test_unusable_keys_are_reported_to_the_user_to_the_job_and_in_the_log(
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    open_ring: Callable[..., KeyRing],
    error: type[Error],
    cause: str,
) -> None:
    monkeypatch.setattr(KeyRing, "open", open_ring)
    issuer = PipelineIssuer(tmp_path, lambda: ("github",), BASE, lambda: NOW, ENTRA)
    with pytest.raises(error, match=cause):
        issuer.start_job(GITHUB)
    token = KEY.sign({"iss": "podpass:pipelines", "sub": GITHUB, "seconds": "", "exp": NOW + 9})
    status, body = await Caller(issuer).send("GET", f"{BASE}{PATH}/github", token)
    assert (status, list(body)) == (503, ["message"])
    assert "000001.pem" not in body["message"]
    [line] = [each for each in caplog.records if each.msg == "pipeline_request_failed"]
    assert vars(line)["cause"] == cause
    # The token service refuses the token with the cause in its log; another error would be a bug.
    fetcher = issuer.wrap_fetcher(Fetcher(FetchRules()))
    with pytest.raises(FetchError, match=cause) as failed:
        await fetcher.get_json("https://token.actions.githubusercontent.com/.well-known/jwks")
    assert failed.value.reason == "bad_key"
