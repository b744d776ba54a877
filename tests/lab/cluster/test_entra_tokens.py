"""Entra tokens at the embedded Kubernetes API: which are accepted, and as which user."""

import time
from typing import Any

import pytest
from kubeling.cluster import UserInfo

from podpass.crypto import jose
from podpass.lab.cluster.kubeling_adapters import EntraTokens

TENANT, OTHER = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0", "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d1"
AKS = "6dae42f8-4368-4678-94ff-3960e28e3630"
OBJECT = "11111111-aaaa-4bbb-8ccc-000000000002"
NOW = int(time.time())
CLAIMS = {
    "aud": AKS,
    "iss": f"https://sts.windows.net/{TENANT}/",
    "nbf": NOW - 300,
    "exp": NOW + 3600,
    "appid": "11111111-aaaa-4bbb-8ccc-000000000001",
    "oid": OBJECT,
    "tid": TENANT,
}
USER = {"scp": "user.read", "upn": "alice@contoso.example"}
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"


async def whoami(live: Any, token: str) -> Any:
    """Return the user of a token, or the status of the refusal."""
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    response = await live.call("POST", path, {}, token=token)
    return response.body["status"]["userInfo"] if response.status == 201 else response.status


class PublishedKey:
    def __init__(self, key: jose.SigningKey) -> None:
        self._key = key

    async def find(self, kid: str) -> jose.PublicKey | None:
        public = self._key.key.public_key()
        found = jose.PublicKey(kid=self._key.kid, algs=frozenset({"RS256"}), key=public)
        return found if kid == self._key.kid else None


@pytest.fixture(scope="module")
def key() -> jose.SigningKey:
    return jose.SigningKey(kid="published", key=jose.generate_rsa())


@pytest.fixture
async def live(serve: Any, key: jose.SigningKey) -> Any:
    return await serve(other_tokens=EntraTokens(TENANT, PublishedKey(key), lambda: NOW))


@pytest.mark.parametrize(
    ("claims", "name"),
    [({}, OBJECT), ({"upn": "alice@contoso.example"}, OBJECT), (USER, USER["upn"])],
    ids=["application", "application with a name", "user"],
)
async def test_username_is_the_principal_name_of_users_and_the_object_id_of_applications(
    live: Any, key: jose.SigningKey, claims: dict[str, Any], name: str
) -> None:
    user = await whoami(live, key.sign({**CLAIMS, **claims}))
    groups = ["system:authenticated"]
    assert user == {"username": name, "groups": groups, "extra": {"oid": [OBJECT]}}


async def test_rights_are_those_of_rbac(live: Any, key: jose.SigningKey) -> None:
    token, path = key.sign(CLAIMS), "/api/v1/namespaces"
    assert (await live.call("GET", path, token=token)).status == 403
    binding = {
        "metadata": {"name": "entra"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": OBJECT}],
    }
    bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
    assert (await live.call("POST", bindings, binding)).status == 201
    assert (await live.call("GET", path, token=token)).status == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "https://management.azure.com/"},
        {"aud": "https://kubernetes.default.svc"},
        {"tid": OTHER, "iss": f"https://sts.windows.net/{OTHER}/"},
        {"tid": OTHER},
        {"iss": f"https://login.microsoftonline.com/{TENANT}/v2.0", "azp": CLAIMS["appid"]},
        {"exp": NOW},
        {"nbf": NOW + 1},
        {"oid": ""},
    ],
    ids=["audience", "API audience", "tenant", "tid", "version 2", "expired", "early", "no oid"],
)
async def test_signed_token_with_other_claims_is_refused(
    live: Any, key: jose.SigningKey, changes: dict[str, Any]
) -> None:
    """Fails if a token for another resource or of another tenant authenticates at the cluster."""
    assert await whoami(live, key.sign({**CLAIMS, **changes})) == 401


async def test_token_of_an_unpublished_key_is_refused(live: Any) -> None:
    for kid in ("published", "unpublished"):
        forged = jose.SigningKey(kid=kid, key=jose.generate_rsa())
        assert await whoami(live, forged.sign(CLAIMS)) == 401


async def test_token_review_accepts_entra_tokens_for_the_audience_of_the_api_server(
    live: Any, key: jose.SigningKey
) -> None:
    """Fails if a token for the API server is valid for the audience of another service."""
    token, own = key.sign(CLAIMS), live.config.audiences[0]
    for audiences, valid in (([], [own]), ([own, "vault"], [own]), (["vault"], None)):
        spec = {"token": token, "audiences": audiences}
        status = (await live.call("POST", REVIEWS, {"spec": spec})).body["status"]
        assert status.get("audiences") == valid
        assert status.get("authenticated", False) is (valid is not None)


@pytest.mark.parametrize("user", [("system:admin", ()), ("alice", ("system:masters",))])
async def test_another_issuer_cannot_name_users_and_groups_of_the_cluster(
    serve: Any, user: tuple[str, tuple[str, ...]], key: jose.SigningKey
) -> None:
    """Fails if an issuer outside the cluster can give a token the group system:masters."""

    class Claiming:
        async def authenticate(self, token: str) -> UserInfo:
            assert token
            return UserInfo(name=user[0], groups=user[1])

    assert await whoami(await serve(other_tokens=Claiming()), key.sign(CLAIMS)) == 401
