"""Claims of ServiceAccount tokens, compared with recorded tokens of kube-apiserver."""

import json
from pathlib import Path
from typing import Any

import jwt
import pytest

from kubeling.service_account.claims import (
    Lifetime,
    ObjectRef,
    make_claims,
    token_lifetime,
)
from kubeling.service_account.signer import RsaSigner
from tests import tokens

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "kubernetes.json").read_text())
ISSUER = "https://oidc.example/issuer/"
NOW = 1_750_000_000.9
IAT = 1_750_000_000
UID = "00000000-0000-4000-8000-000000000000"


def recorded() -> list[Any]:
    """List the recorded token requests whose response has a token."""
    return [
        pytest.param(step, id=step["title"])
        for step in VECTORS["steps"]
        if step["path"].endswith("/token") and step["expect"]["status"] == 201
    ]


def masked(token_claims: dict[str, Any]) -> dict[str, Any]:
    """Mask claims as in the recording."""
    made = json.loads(json.dumps(token_claims).replace(UID, "<uid>"))
    for name in ("exp", "iat", "nbf"):
        made[name] = f"<iat+{made[name] - IAT}>"
    bound = made["kubernetes.io"]
    if "warnafter" in bound:
        bound["warnafter"] = f"<iat+{bound['warnafter'] - IAT}>"
    return dict(made)


@pytest.mark.parametrize("step", recorded())
def test_claims_equal_the_recorded_claims(step: dict[str, Any], signer: RsaSigner) -> None:
    """Fails if members, values or their order differ from kube-apiserver."""
    expected = step["expect"]["body"]
    spec, token = expected["spec"], expected["status"]["token"]
    bound = token["claims"]["kubernetes.io"]
    allowed = token_lifetime(
        spec["expirationSeconds"],
        pod_bound="pod" in bound,
        own_audience=spec["audiences"] == ["https://kubernetes.default.svc"],
    )
    made = make_claims(
        issuer=ISSUER,
        namespace=bound["namespace"],
        account=ObjectRef(name=bound["serviceaccount"]["name"], uid=UID),
        audiences=spec["audiences"],
        seconds=allowed.seconds,
        warn_after=allowed.warn_after,
        now=NOW,
        jti=UID,
        **{
            kind: ObjectRef(name=bound[kind]["name"], uid=UID)
            for kind in ("pod", "node")
            if kind in bound
        },
    )
    assert json.dumps(masked(made)) == json.dumps(token["claims"])
    header = dict(tokens.parse(signer.sign(made)).header)
    assert header == {**token["header"], "kid": signer.kid}
    assert list(header) == list(token["header"])


CLAIMS: dict[str, Any] = {
    "issuer": ISSUER,
    "namespace": "one",
    "account": ObjectRef(name="sa", uid="u1"),
    "audiences": ["api://AzureADTokenExchange"],
    "seconds": 3600,
    "now": NOW,
    "jti": "j",
}


def test_pod_bound_token_names_pod_and_node() -> None:
    bound: Any = {"pod": ObjectRef(name="p", uid="u2"), "node": ObjectRef(name="n", uid="u3")}
    made = make_claims(**CLAIMS, **bound)
    assert made == {
        "aud": ["api://AzureADTokenExchange"],
        "exp": IAT + 3600,
        "iat": IAT,
        "iss": ISSUER,
        "jti": "j",
        "kubernetes.io": {
            "namespace": "one",
            "node": {"name": "n", "uid": "u3"},
            "pod": {"name": "p", "uid": "u2"},
            "serviceaccount": {"name": "sa", "uid": "u1"},
        },
        "nbf": IAT,
        "sub": "system:serviceaccount:one:sa",
    }


def test_token_is_bound_to_a_secret_or_a_node_alone() -> None:
    for kind in ("secret", "node"):
        bound: Any = {kind: ObjectRef(name="x", uid="u")}
        made = make_claims(**CLAIMS, **bound)
        assert made["kubernetes.io"][kind] == {"name": "x", "uid": "u"}
        assert "pod" not in made["kubernetes.io"]


def test_default_projected_token_is_valid_for_a_year_and_warns_after_its_requested_time() -> None:
    assert token_lifetime(3607, pod_bound=True, own_audience=True) == Lifetime(
        seconds=31536000, warn_after=3607
    )
    for seconds, pod, own in ((3600, True, True), (3607, False, True), (3607, True, False)):
        plain = token_lifetime(seconds, pod_bound=pod, own_audience=own)
        assert plain == Lifetime(seconds=seconds, warn_after=None)
    made = make_claims(
        issuer=ISSUER,
        namespace="one",
        account=ObjectRef(name="sa", uid="u"),
        audiences=["https://kubernetes.default.svc"],
        seconds=31536000,
        warn_after=3607,
        now=NOW,
        jti="j",
    )
    assert made["exp"] == IAT + 31536000
    assert list(made["kubernetes.io"].items())[-1] == ("warnafter", IAT + 3607)


def test_another_library_verifies_a_signed_token(signer: RsaSigner) -> None:
    token = signer.sign({"aud": ["a"], "sub": "s"})
    key = jwt.PyJWKSet.from_dict(signer.jwks()).keys[0].key
    assert jwt.decode(token, key, algorithms=["RS256"], audience="a") == {"aud": ["a"], "sub": "s"}
