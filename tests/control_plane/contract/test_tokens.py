"""ServiceAccount tokens: claims, bound objects, and when they become invalid."""

from typing import Any

import pytest

from podpass.crypto import jose
from tests.control_plane.contract.api import ADMIN, Api, check_refused, pod
from tests.control_plane.plane import ISSUER

AUDIENCE = "api://AzureADTokenExchange"
UID = "00000000-0000-4000-8000-000000000000"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
REVIEWS_OF_SELF = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


async def _request_token(api: Api, **spec: Any) -> Any:
    path = api.path("serviceaccounts", "default", "token")
    return await api.call("POST", path, {"spec": spec})


async def _token(api: Api, **spec: Any) -> str:
    reply = await _request_token(api, **spec)
    assert reply.status == 201, reply.text
    return str(reply.body["status"]["token"])


async def _review(api: Api, token: str, *audiences: str) -> Any:
    spec = {"token": token, "audiences": list(audiences)} if audiences else {"token": token}
    reply = await api.call("POST", REVIEWS, {"spec": spec})
    assert reply.status == 201, reply.text
    return reply.body["status"]


async def _wait_until_refused(api: Api, token: str) -> None:
    """Wait until a token is refused: API servers cache the result of a review for seconds."""
    body = {"spec": {"token": token}}
    await api.wait_for(
        REVIEWS, lambda reply: "authenticated" not in reply.body["status"], "POST", body=body
    )


async def test_claims_name_the_account_and_the_requested_audience(api: Api) -> None:
    account = await api.get(api.path("serviceaccounts", "default"))
    token = jose.parse(await _token(api, audiences=[AUDIENCE], expirationSeconds=3600))
    claims = dict(token.claims)
    assert claims["iss"] == ISSUER
    assert claims["sub"] == f"system:serviceaccount:{api.namespace}:default"
    assert claims["aud"] == [AUDIENCE]
    assert claims["exp"] - claims["iat"] == 3600
    assert claims["nbf"] == claims["iat"]
    assert claims["kubernetes.io"] == {
        "namespace": api.namespace,
        "serviceaccount": {"name": "default", "uid": account["metadata"]["uid"]},
    }
    assert token.header["alg"] == "RS256"


async def test_a_token_is_signed_by_a_key_that_is_published(api: Api) -> None:
    token = jose.parse(await _token(api))
    keys = await api.get("/openid/v1/jwks")
    assert token.header["kid"] in [key["kid"] for key in keys["keys"]]
    document = await api.get("/.well-known/openid-configuration")
    assert document["issuer"] == ISSUER


async def test_without_an_audience_a_token_is_for_the_api_server(api: Api) -> None:
    token = await _token(api)
    assert jose.parse(token).claims["aud"] == ["https://kubernetes.default.svc"]
    reply = await api.call("POST", REVIEWS_OF_SELF, {}, token=token)
    user = reply.body["status"]["userInfo"]
    assert user["username"] == f"system:serviceaccount:{api.namespace}:default"
    assert set(user["groups"]) == {
        *(
            "system:serviceaccounts",
            f"system:serviceaccounts:{api.namespace}",
            "system:authenticated",
        )
    }
    assert user["extra"].keys() == {"authentication.kubernetes.io/credential-id"}


async def test_token_for_another_audience_is_refused_by_the_api(api: Api) -> None:
    token = await _token(api, audiences=[AUDIENCE])
    check_refused(await api.call("POST", REVIEWS_OF_SELF, {}, token=token), 401, "Unauthorized")


@pytest.mark.parametrize("seconds", [0, 599, 2**32 + 1])
async def test_token_lifetime_that_is_too_short_or_too_long_is_refused(
    api: Api, seconds: int
) -> None:
    reply = await _request_token(api, expirationSeconds=seconds)
    found = check_refused(reply, 422, "Invalid", "spec.expirationSeconds")
    assert f"spec.expirationSeconds: Invalid value: {seconds}: may not" in found["message"]


@pytest.mark.parametrize(
    ("metadata", "status", "reason", "message"),
    [
        (
            {"name": "other"},
            422,
            "Invalid",
            'metadata.name: Invalid value: "other": must match the service account name if specified',
        ),
        (
            {"namespace": "other"},
            400,
            "BadRequest",
            "does not match the namespace sent on the request",
        ),
    ],
    ids=["name", "namespace"],
)
async def test_request_that_names_another_account_than_its_path_is_refused(
    api: Api, metadata: dict[str, str], status: int, reason: str, message: str
) -> None:
    path = api.path("serviceaccounts", "default", "token")
    reply = await api.call("POST", path, {"metadata": metadata, "spec": {"audiences": ["a"]}})
    assert message in check_refused(reply, status, reason)["message"]


async def test_request_that_names_another_uid_is_a_conflict(api: Api) -> None:
    path = api.path("serviceaccounts", "default", "token")
    reply = await api.call("POST", path, {"metadata": {"uid": UID}, "spec": {"audiences": ["a"]}})
    message = str(check_refused(reply, 409, "Conflict")["message"])
    assert f"the UID in the token request ({UID}) does not match" in message


async def test_invalid_option_is_refused_before_a_token_is_signed(api: Api) -> None:
    path = api.path("serviceaccounts", "default", "token")
    reply = await api.call("POST", f"{path}?dryRun=x", {"spec": {"expirationSeconds": 1}})
    check_refused(reply, 422, "Invalid", "dryRun")


async def test_token_bound_to_a_pod_names_the_pod_and_becomes_invalid_with_it(api: Api) -> None:
    made = await api.create("pods", pod())
    uid = made["metadata"]["uid"]
    bound = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": uid}
    token = await _token(api, boundObjectRef=bound)
    assert jose.parse(token).claims["kubernetes.io"]["pod"] == {"name": "p", "uid": uid}
    status = await _review(api, token)
    extra = status["user"]["extra"]
    assert extra["authentication.kubernetes.io/pod-name"] == ["p"]
    assert extra["authentication.kubernetes.io/pod-uid"] == [uid]
    await api.call("DELETE", api.path("pods", "p"))
    await _wait_until_refused(api, token)


async def test_a_token_for_another_pods_uid_is_a_conflict(api: Api) -> None:
    await api.create("pods", pod())
    bound = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": UID}
    found = check_refused(await _request_token(api, boundObjectRef=bound), 409, "Conflict")
    assert found["message"].endswith(
        f"({UID}) does not match the UID in record. The object might have been deleted and then recreated"
    )


async def test_a_token_for_a_pod_of_another_account_is_refused(api: Api) -> None:
    await api.create("serviceaccounts", {"metadata": {"name": "other"}})
    await api.create("pods", pod(serviceAccountName="other"))
    bound = {"kind": "Pod", "apiVersion": "v1", "name": "p"}
    found = check_refused(await _request_token(api, boundObjectRef=bound), 400, "BadRequest")
    assert found["message"] == (
        'cannot bind token for serviceaccount "default" to pod running with different serviceaccount name.'
    )
    bound = {"kind": "Deployment", "apiVersion": "apps/v1", "name": "d"}
    found = check_refused(await _request_token(api, boundObjectRef=bound), 400, "BadRequest")
    assert found["message"] == "cannot bind token to object of type apps/v1, Kind=Deployment"


async def test_token_for_a_missing_account_or_pod_is_not_found(api: Api) -> None:
    path = api.path("serviceaccounts", "missing", "token")
    check_refused(await api.call("POST", path, {"spec": {}}), 404, "NotFound")
    bound = {"kind": "Pod", "apiVersion": "v1", "name": "none"}
    check_refused(await _request_token(api, boundObjectRef=bound), 404, "NotFound")


async def test_token_becomes_invalid_when_its_account_is_deleted(api: Api) -> None:
    await api.create("serviceaccounts", {"metadata": {"name": "brief"}})
    path = api.path("serviceaccounts", "brief", "token")
    made = await api.call("POST", path, {"spec": {}})
    token = made.body["status"]["token"]
    assert (await _review(api, token))["authenticated"] is True
    await api.call("DELETE", api.path("serviceaccounts", "brief"))
    await _wait_until_refused(api, token)


async def test_token_review_returns_the_valid_audiences(api: Api) -> None:
    token = await _token(api, audiences=[AUDIENCE, "other"])
    status = await _review(api, token, "other", "third")
    assert (status["authenticated"], status["audiences"]) == (True, ["other"])
    status = await _review(api, token, "third")
    assert "authenticated" not in status
    assert status["error"]


async def test_token_review_of_an_invalid_token_is_unauthenticated(api: Api) -> None:
    status = await _review(api, "not-a-token")
    assert "authenticated" not in status
    head, body, signature = (await _token(api)).split(".")
    assert "authenticated" not in await _review(api, f"{head}.{body}.{signature[::-1]}")


async def test_invalid_token_is_refused_and_a_request_without_token_is_anonymous(api: Api) -> None:
    check_refused(await api.call("GET", api.path("pods"), token="wrong"), 401, "Unauthorized")
    body = check_refused(await api.call("GET", api.path("pods"), token=None), 403, "Forbidden")
    assert "system:anonymous" in body["message"]


async def test_self_subject_review_names_the_administrator(api: Api) -> None:
    reply = await api.call("POST", REVIEWS_OF_SELF, {}, token=ADMIN)
    user = reply.body["status"]["userInfo"]
    assert (user["username"], user["uid"]) == ("admin", "admin")
    assert user["groups"] == ["system:masters", "system:authenticated"]
