"""What `podpass issuer status` compares."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from podpass.assertion.publishing import documents, entra_rules, public_key, status
from podpass.assertion.publishing.api_servers import ApiServerKeys
from podpass.assertion.publishing.status import PublicDocuments
from podpass.crypto import jose
from tests.assertion.publishing.issuer import ISSUER, Issuer


def _target_problems(issuer: Issuer) -> list[str]:
    return status.check_target(issuer.config, issuer.state, issuer.tools().target)


def test_issuer_that_is_published_has_no_problem(published_issuer: Issuer) -> None:
    assert _target_problems(published_issuer) == []
    assert status.check_state(published_issuer.config, published_issuer.state) == []


def test_missing_document_is_named(new_issuer: Issuer) -> None:
    (problem,) = _target_problems(new_issuer)
    assert problem.endswith("has no .well-known/openid-configuration: run `podpass issuer publish`")


def test_missing_unknown_and_withdrawn_keys_of_the_target_are_named(
    published_issuer: Issuer,
) -> None:
    issuer = published_issuer
    path = issuer.folder.root / "published" / documents.JWKS
    old, first = path.read_bytes(), issuer.state.active.kid
    issuer.rotate_to_end()
    path.write_bytes(old)
    problems = _target_problems(issuer)
    assert f"lacks the key {issuer.state.active.kid}" in problems[0]
    assert f"still has the withdrawn key {first}" in problems[1]
    path.write_bytes(old.replace(first.encode(), b"other"))
    assert "has the key other, which this folder does not contain" in _target_problems(issuer)[1]


def test_document_that_is_damaged_is_a_problem(published_issuer: Issuer) -> None:
    (published_issuer.folder.root / "published" / documents.JWKS).write_text("<html>")
    (problem,) = _target_problems(published_issuer)
    assert "openid/v1/jwks is not a document of an issuer" in problem


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (ISSUER, []),
        (ISSUER.rstrip("/"), ["the slash at the end differs"]),
        (ISSUER.replace("oidc", "OIDC"), ["not 'https://oidc.example/cluster/'"]),
    ],
)
def test_issuer_is_compared_byte_for_byte(found: str, problem: list[str]) -> None:
    problems = entra_rules.check_same_issuer(ISSUER, found, "the API server")
    assert len(problems) == len(problem)
    assert all(part in text for part, text in zip(problem, problems, strict=True))


def _server(issuer: Issuer, /, **changes: object) -> list[str]:
    kid = issuer.state.active.kid
    keys = ApiServerKeys(
        server="https://one:6443",
        accepted=frozenset({kid}),
        signing=kid,
        issuer=ISSUER,
        time=issuer.clock.now,
    )
    return status.check_api_server(
        issuer.config,
        issuer.state,
        replace(keys, **changes),  # type: ignore[arg-type]
        issuer.clock.now,
    )


def test_api_server_that_differs_from_the_key_folder_is_reported(published_issuer: Issuer) -> None:
    assert _server(published_issuer) == []
    (problem,) = _server(published_issuer, signing="other")
    assert "signs with the key other, which is not published" in problem
    (problem,) = _server(published_issuer, accepted=frozenset())
    assert "does not accept tokens of the key" in problem
    (problem,) = _server(published_issuer, issuer=ISSUER.rstrip("/"))
    assert "the slash at the end differs" in problem
    (problem,) = _server(published_issuer, time=published_issuer.clock.now - 3600)
    assert "the clock differs by 3600 seconds" in problem


def test_api_server_that_still_signs_with_the_old_key_is_named(published_issuer: Issuer) -> None:
    issuer, old = published_issuer, published_issuer.state.active.kid
    wait = issuer.rotate()
    assert wait is not None
    issuer.clock.now = wait.until
    issuer.rotate()
    accepted = frozenset(key.kid for key in issuer.state.keys)
    (problem,) = _server(issuer, signing=old, accepted=accepted)
    assert f"signs with the key {old}; the active key is {issuer.state.active.kid}" in problem


def test_public_documents_that_differ_from_the_key_folder_are_reported(
    published_issuer: Issuer,
) -> None:
    root = published_issuer.folder.root / "published"
    public = PublicDocuments(
        discovery=jose.loads_object((root / documents.DISCOVERY).read_bytes()),
        jwks=jose.loads_object((root / documents.JWKS).read_bytes()),
    )
    config, state = published_issuer.config, published_issuer.state
    assert status.check_public(config, state, public) == []
    (problem,) = status.check_public(config, state, replace(public, jwks={"keys": []}))
    assert f"{ISSUER} lacks the key" in problem
    (problem,) = status.check_public(config, state, replace(public, discovery={"issuer": "x"}))
    assert "the published document has the issuer 'x'" in problem


def test_keys_that_entra_does_not_store_are_named(published_issuer: Issuer) -> None:
    (key,) = published_issuer.state.keys
    assert entra_rules.check_keys([key]) == []
    assert "there are 101 keys; Entra stores 100" in entra_rules.check_keys([key] * 101)
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
    (problem,) = entra_rules.check_keys([replace(key, public_pem=public_key.encode(small))])
    assert "the RSA modulus must have 2048 to 4096 bits" in problem
    assert entra_rules.check_size("jwks", b"x" * 64 * 1024) == []
    assert "has 65537 bytes" in entra_rules.check_size("jwks", b"x" * (64 * 1024 + 1))[0]


def test_private_key_that_the_state_does_not_contain_is_named(published_issuer: Issuer) -> None:
    folder = published_issuer.folder
    key = folder.create_key(2048, 1.0)
    assert folder.unknown_private_keys(published_issuer.state) == [f"{key.kid}.pem"]
