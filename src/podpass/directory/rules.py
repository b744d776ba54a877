"""Validation rules for objects of the directory; they need no lookup. Pure.

The rules never change a value. Issuer, subject and audience are later compared byte by byte, so a leading or
trailing space is stored and then never matches.
"""

import re
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from podpass.directory import naming
from podpass.directory.claims_expression import KubernetesIssuers, check_expression, parse
from podpass.directory.errors import (
    Conflict,
    InvalidCredential,
    InvalidExpression,
    InvalidValue,
    TooMany,
    TooManyCredentials,
    TrustNotUnique,
)
from podpass.directory.model import FederatedCredential, Identity, IdentityKind
from podpass.directory.naming import Fault, check_guid

MAX_CREDENTIALS = 20
MAX_CHARS = 600
MAX_SECRETS = 100
MAX_URIS = 50

# Graph, which has the applications, accepts more than Resource Manager. azwi names credentials by SHA-256 in
# padded base64url, of which one in 32 begins with `-` or `_`.
_CREDENTIAL_NAMES = {
    IdentityKind.APPLICATION: (
        re.compile(r"[A-Za-z0-9][A-Za-z0-9_=-]{2,119}|[A-Za-z0-9_-]{43}="),
        "3 to 120 letters, digits, '-', '_' and '=', beginning with a letter or digit",
    ),
    IdentityKind.MANAGED_IDENTITY: (
        re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,119}"),
        "3 to 120 letters, digits, '-' and '_', beginning with a letter or digit",
    ),
}
_MANAGED_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,127}")


def credential_faults(
    credential: FederatedCredential, kind: IdentityKind = IdentityKind.MANAGED_IDENTITY
) -> list[Fault]:
    """Return the rules that a federated credential of an identity of this kind breaks.

    Source:  https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations
    """
    faults = []
    pattern, want = _CREDENTIAL_NAMES[kind]
    if not pattern.fullmatch(credential.name):
        faults.append(Fault(field="name", message=f"name {credential.name!r}: want {want}"))
    faults += _text_faults("issuer", credential.issuer) or _issuer_faults(credential.issuer)
    faults += _trust_faults(credential)
    if len(credential.audiences) != 1:
        faults.append(
            Fault(
                field="audiences",
                message=f"want exactly one audience, not {len(credential.audiences)}",
            )
        )
    for audience in credential.audiences:
        faults += _text_faults("audiences", audience)
    if len(credential.description) > MAX_CHARS:
        faults.append(_too_long("description"))
    return faults


def check_credential(
    credential: FederatedCredential, kind: IdentityKind = IdentityKind.MANAGED_IDENTITY
) -> None:
    """Reject a federated credential that breaks a rule for identities of this kind.

    Raises InvalidCredential, with all `faults`.
    """
    if faults := credential_faults(credential, kind):
        raise InvalidCredential(
            "; ".join(fault.message for fault in faults),
            hint=f"fix {', '.join(dict.fromkeys(fault.field for fault in faults))}",
            name=credential.name,
            faults=[(fault.field, fault.message) for fault in faults],
        )


def check_together(credentials: Sequence[FederatedCredential]) -> None:
    """Reject credentials that one identity cannot have together.

    Raises TooManyCredentials; TrustNotUnique; Conflict for a duplicate name.
    """
    if len(credentials) > MAX_CREDENTIALS:
        raise TooManyCredentials(
            f"an identity has at most {MAX_CREDENTIALS} federated credentials",
            limit=MAX_CREDENTIALS,
        )
    names: set[str] = set()
    trusted: dict[tuple[str, str], str] = {}
    for credential in credentials:
        if credential.name in names:
            raise Conflict(
                f"the federated credential {credential.name} exists already", name=credential.name
            )
        names.add(credential.name)
        trust = (credential.issuer, credential.expression or credential.subject)
        if trust in trusted:
            raise TrustNotUnique(
                f"{trusted[trust]} already trusts issuer {trust[0]} and subject {trust[1]}",
                name=credential.name,
                other=trusted[trust],
                issuer=trust[0],
                subject=trust[1],
            )
        trusted[trust] = credential.name


def put_credential(
    credentials: Iterable[FederatedCredential], new: FederatedCredential
) -> tuple[FederatedCredential, ...]:
    """Return the credentials with the new one, which replaces a credential with the same name.

    Names identify credentials: a new name is a new credential.
    """
    result = list(credentials)
    for index, credential in enumerate(result):
        if credential.name == new.name:
            result[index] = new
            return tuple(result)
    return (*result, new)


def check_identity(identity: Identity) -> None:
    """Reject an identity with invalid ids, names, URIs or secrets.

    Raises InvalidValue, TooMany; those of its credentials.
    """
    for field in ("tenant_id", "client_id", "object_id"):
        check_guid(field, getattr(identity, field))
    if fault := name_fault(identity.name, identity.kind):
        raise InvalidValue(fault.message, field="name", name=identity.name)
    if identity.kind is IdentityKind.MANAGED_IDENTITY:
        _check_managed(identity)
    else:
        _check_application(identity)
    for credential in identity.credentials:
        check_credential(credential, identity.kind)
    check_together(identity.credentials)


def _check_managed(identity: Identity) -> None:
    if not identity.resource_id:
        raise InvalidValue("a managed identity has a resource id", field="resource_id")
    # A client with one of these could act as the identity without a federated credential.
    for field in ("application_id", "unique_name", "identifier_uris", "passwords", "keys"):
        if getattr(identity, field):
            raise InvalidValue(f"a managed identity has no {field}", field=field)
    if not identity.has_principal:
        raise InvalidValue(
            "a managed identity always has a service principal", field="has_principal"
        )
    naming.raise_fault(naming.tags_fault(identity.tags))


def _check_application(identity: Identity) -> None:
    if identity.resource_id is not None:
        raise InvalidValue("an application has no resource id", field="resource_id")
    if identity.application_id is not None:
        check_guid("application_id", identity.application_id)
    if identity.unique_name is not None:
        naming.raise_fault(naming.unique_name_fault(identity.unique_name))
    check_uris(identity.identifier_uris)
    for field in ("passwords", "keys"):
        held = getattr(identity, field)
        if len(held) > MAX_SECRETS:
            message = f"an application has at most {MAX_SECRETS} {field}"
            raise TooMany(message, field=field, limit=MAX_SECRETS)
        if len({one.key_id for one in held}) < len(held):
            raise InvalidValue(f"{field}: duplicate key id", field=field)


def check_uris(uris: Sequence[str]) -> None:
    """Reject invalid identifier URIs of an application. Raises InvalidValue, TooMany."""
    if len(uris) > MAX_URIS:
        message = f"an application has at most {MAX_URIS} identifier URIs"
        raise TooMany(message, field="identifier_uris", limit=MAX_URIS)
    naming.raise_fault(*(naming.uri_fault(uri) for uri in uris))
    if len({naming.uri_key(uri) for uri in uris}) < len(uris):
        raise InvalidValue("duplicate identifier URI", field="identifier_uris")


def name_fault(name: str, kind: IdentityKind) -> Fault | None:
    """Return the fault of an identity's name, or None."""
    if kind is IdentityKind.MANAGED_IDENTITY:
        fits = _MANAGED_NAME.fullmatch(name) is not None
        want = "3 to 128 letters, digits, '-' and '_', beginning with a letter or digit"
    else:
        fits = 0 < len(name) <= 256 and name.isprintable()
        want = "1 to 256 printable characters"
    return None if fits else Fault(field="name", message=f"name {name!r}: want {want}")


def _too_long(field: str) -> Fault:
    return Fault(field=field, message=f"{field} is longer than {MAX_CHARS} characters")


def _text_faults(field: str, text: str) -> list[Fault]:
    if not text.strip():
        return [Fault(field=field, message=f"{field} is empty")]
    if len(text) > MAX_CHARS:
        return [_too_long(field)]
    # A printed value with a line break could forge lines, and it would never match.
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in text):
        return [Fault(field=field, message=f"{field} contains a control character")]
    return []


def _issuer_faults(issuer: str) -> list[Fault]:
    try:
        parts = urlsplit(issuer.strip())
        fits = parts.scheme == "https" and bool(parts.hostname) and "@" not in parts.netloc
        fits = fits and parts.port != 0
    except ValueError:
        fits = False
    if fits:
        return []
    return [Fault(field="issuer", message=f"issuer {issuer!r}: want an https URL")]


def _trust_faults(credential: FederatedCredential) -> list[Fault]:
    if not credential.expression:
        subject = credential.subject
        return _text_faults("subject", subject) or _subject_faults(subject)
    if credential.subject:
        return [
            Fault(field="subject", message="a credential has a subject or an expression, not both")
        ]
    try:
        parse(credential.expression)
    except InvalidExpression as exc:
        return [
            Fault(
                field="claimsMatchingExpression",
                message=f"invalid claimsMatchingExpression: {exc.message}",
            )
        ]
    return []


def check_new_expressions(
    old: Iterable[FederatedCredential],
    new: Iterable[FederatedCredential],
    issuers: KubernetesIssuers,
) -> None:
    """Reject new expressions that their issuer does not allow. Stored ones stay, as in Entra.

    Raises InvalidCredential.
    """
    known = {(one.issuer, one.expression) for one in old}
    for one in new:
        if one.expression and (one.issuer, one.expression) not in known:
            try:
                check_expression(one.issuer, one.expression, issuers)
            except InvalidExpression as exc:
                raise InvalidCredential(
                    f"federated credential {one.name}: invalid claimsMatchingExpression: {exc.message}",
                    hint="correct the expression, or create one credential for each subject",
                    name=one.name,
                    faults=[("claimsMatchingExpression", exc.message)],
                ) from exc


def _subject_faults(subject: str) -> list[Fault]:
    if "*" not in subject and "?" not in subject:
        return []
    return [
        Fault(
            field="subject",
            message=f"subject {subject!r}: subjects are compared exactly and wildcards match nothing;"
            " create one federated credential for each subject, or use an expression",
        )
    ]
