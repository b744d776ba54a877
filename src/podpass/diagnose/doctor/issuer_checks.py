"""The checks of the stage assertion: what Entra must be able to read from the issuer. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from podpass.assertion.publishing.documents import MAX_DOCUMENT_BYTES
from podpass.assertion.publishing.entra_rules import check_issuer
from podpass.crypto import jose
from podpass.diagnose.doctor.model import (
    ContainerFacts,
    DoctorCheck,
    Document,
    ExchangeFacts,
    Facts,
    IssuerFacts,
    PodToken,
    Problem,
    Stage,
)
from podpass.facts import FactUnread, known
from podpass.provision.errors import sanitize

_GUIDE = "see docs/operate/issuers.md"
_PUBLISH = f"publish both documents with `podpass issuer publish`; {_GUIDE}"
_ALGORITHM = "RS256"


def find_token(facts: Facts) -> PodToken | None:
    """Return the token in the pod, else the one that was requested for an exchange; None without either."""
    container = facts.cluster.container
    if isinstance(container, ContainerFacts) and isinstance(container.token, PodToken):
        return container.token
    exchange = facts.cloud.exchange
    return exchange.token if isinstance(exchange, ExchangeFacts) else None


def _object(issuer: str) -> str:
    return f"issuer {sanitize(issuer)}"


def _check_form(facts: Facts) -> Problem | None:
    issuer = known(facts.cluster.issuer)
    problems = check_issuer(issuer)
    if not problems:
        return None
    return Problem(
        _object(issuer),
        f"Entra accepts no such issuer: {sanitize(problems[0])}",
        f"start the API server with a public https URL as --service-account-issuer; {_GUIDE}",
    )


def _check_public(facts: Facts) -> Problem | None:
    found = known(facts.cloud.issuer)
    if not found.private:
        return None
    return Problem(
        _object(found.issuer),
        f"Entra reads the issuer over the internet, and {found.private}",
        "for AKS: `az aks update --name CLUSTER --resource-group GROUP --enable-oidc-issuer`; other"
        f" clusters: {_PUBLISH}",
    )


def _discovery(facts: Facts) -> tuple[IssuerFacts, Document]:
    """Return the discovery document of the issuer.

    Raises FactUnread if it was not read, or if an earlier check names the reason.
    """
    found = known(facts.cloud.issuer)
    if found.discovery is None:
        raise FactUnread("the issuer is not a public https URL")
    return found, found.discovery


def _check_response(document: Document, what: str) -> str:
    """Return why a document cannot be read, as a clause; empty if it can."""
    if document.location or 300 <= document.status < 400:
        target = urlsplit(document.location).netloc
        return f"{what} is redirected{f' to {sanitize(target)}' if target else ''}; Entra follows no redirect"
    if document.status == 0 or document.error:
        return f"{what} cannot be read: {document.error}"
    if document.status != 200:
        return f"{what} has the status {document.status}"
    if document.body is None:
        return f"{what} is not a JSON object"
    if document.size > MAX_DOCUMENT_BYTES:
        return f"{what} has {document.size} bytes; Entra reads at most {MAX_DOCUMENT_BYTES}"
    return ""


def _check_discovery(facts: Facts) -> Problem | None:
    _, document = _discovery(facts)
    if problem := _check_response(document, "the discovery document"):
        return Problem(document.url, problem, f"serve it to anyone at this URL: {_PUBLISH}")
    return None


def _body(document: Document) -> Mapping[str, Any]:
    """Return the content of a document that was read. Raises FactUnread."""
    if _check_response(document, "it") or document.body is None:
        raise FactUnread(f"{document.url} could not be read")
    return document.body


def _check_same_issuer(facts: Facts) -> Problem | None:
    found, document = _discovery(facts)
    named = str(_body(document).get("issuer") or "")
    if named == found.issuer:
        return None
    cause = "it names another issuer"
    if named.rstrip("/") == found.issuer.rstrip("/"):
        cause = "the slash at the end differs"
    return Problem(
        document.url,
        f"the document names the issuer {sanitize(named)!r}, the token {sanitize(found.issuer)!r}: {cause}",
        f"let both name the same issuer, byte for byte: {_PUBLISH}",
    )


def _check_content(facts: Facts) -> Problem | None:
    _, document = _discovery(facts)
    body = _body(document)
    problem = ""
    if not isinstance(body.get("jwks_uri"), str) or not body["jwks_uri"].startswith("https://"):
        problem = "the document has no `jwks_uri` with an https URL"
    elif body.get("authorization_endpoint", "-") == "":
        problem = "`authorization_endpoint` is empty, which Entra rejects"
    elif body.get("subject_types_supported", "-") == []:
        problem = "`subject_types_supported` is empty, which Entra rejects"
    return Problem(document.url, problem, _PUBLISH) if problem else None


def _check_keys(facts: Facts) -> Problem | None:
    found, document = _discovery(facts)
    url = str(_body(document).get("jwks_uri") or "")
    if found.keys_private:
        return Problem(
            url,
            f"Entra reads the keys over the internet, and {found.keys_private}",
            f"start the API server with --service-account-jwks-uri; {_GUIDE}",
        )
    if found.keys is None:
        raise FactUnread("the discovery document names no https URL of the keys")
    problem = _check_response(found.keys, "the JWKS")
    if not problem and not isinstance(_body(found.keys).get("keys"), list):
        problem = "the JWKS has no list `keys`"
    return Problem(url, problem, f"serve it to anyone at this URL: {_PUBLISH}") if problem else None


def _published(facts: Facts) -> tuple[str, Sequence[Mapping[str, Any]]]:
    """Return URL and keys of the JWKS. Raises FactUnread."""
    found = known(facts.cloud.issuer)
    if found.keys is None:
        raise FactUnread("the JWKS of the issuer was not read")
    listed = _body(found.keys).get("keys")
    if not isinstance(listed, list):
        raise FactUnread("the JWKS has no keys")
    return found.keys.url, [each for each in listed if isinstance(each, dict)]


def _signing_ids(facts: Facts) -> frozenset[str]:
    """Return the ids of keys that may sign the tokens: that of the token, else those of the API server.

    Raises FactUnread.
    """
    token = find_token(facts)
    if token is not None:
        return frozenset({token.key_id})
    jwks = known(facts.cluster.jwks)
    return frozenset(
        str(each.get("kid")) for each in jwks.get("keys") or () if isinstance(each, dict)
    )


def _check_key_id(facts: Facts) -> Problem | None:
    url, keys = _published(facts)
    signing, published = _signing_ids(facts), {str(each.get("kid")) for each in keys}
    if signing & published or not signing:
        return None
    named = sanitize(", ".join(sorted(signing)[:3]))
    return Problem(
        url,
        f"the JWKS has no key {named}, which signs the tokens; it has"
        f" {sanitize(', '.join(sorted(published)[:5])) or 'no keys'}",
        f"publish the key that signs: `podpass issuer publish`; {_GUIDE}",
    )


def _check_key_type(facts: Facts) -> Problem | None:
    url, keys = _published(facts)
    signing = _signing_ids(facts)
    for key in keys:
        if str(key.get("kid")) in signing and (problem := _find_key_problem(key)):
            return Problem(
                url,
                f"the key {sanitize(key.get('kid'))} cannot verify tokens for Entra: {problem}",
                f"sign with an RSA key of 2048 bits or more: `podpass issuer rotate`; {_GUIDE}",
            )
    return None


def _find_key_problem(key: Mapping[str, Any]) -> str:
    if key.get("kty") != "RSA":
        return f"its type is {sanitize(key.get('kty'))}, and Entra accepts RSA keys only"
    try:
        loaded = jose.load_jwk(key)
    except (jose.BadKey, jose.MalformedToken) as exc:
        return exc.message
    if _ALGORITHM not in loaded.algs:
        return (
            f"its `alg` is {', '.join(sorted(loaded.algs))}, and API servers sign with {_ALGORITHM}"
        )
    return ""


def _row(name: str, meaning: str, run: Callable[[Facts], Problem | None]) -> DoctorCheck:
    return DoctorCheck(name, Stage.ASSERTION, meaning, run)


CHECKS: tuple[DoctorCheck, ...] = (
    _row("issuer-invalid", "the issuer is an https URL without query and fragment", _check_form),
    _row("issuer-private", "the host of the issuer is on the internet", _check_public),
    _row(
        "discovery-unreachable",
        "anyone can read the discovery document, without a redirect",
        _check_discovery,
    ),
    _row(
        "discovery-issuer-differs",
        "the discovery document names the issuer, byte for byte",
        _check_same_issuer,
    ),
    _row("discovery-incomplete", "the discovery document has what Entra requires", _check_content),
    _row("keys-unreachable", "anyone can read the JWKS, without a redirect", _check_keys),
    _row("key-not-published", "the JWKS has the key that signs the tokens", _check_key_id),
    _row("key-refused", "that key is an RSA key of at least 2048 bits", _check_key_type),
)
