"""What the directory accepts, decided without looking anything up in it. Pure.

It must never change what it is given: issuer, subject and audience are matched byte for byte later, so a
blank at an end is kept as it came, and simply never matches.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from podpass.directory.model import FederatedCredential, Identity, IdentityKind
from podpass.errors import Error

MAX_CREDENTIALS = 20
MAX_CHARS = 600

_GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_CREDENTIAL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,119}")
_MANAGED_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,127}")
_VAULT_NAME = re.compile(r"[a-z](?:-?[a-z0-9]){2,23}")
_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")


class DirectoryError(Error):
    """The directory refuses a write."""

    code = "directory_refused"
    status = 400


class InvalidValue(DirectoryError):
    """A name or id is not written as it must be; `field` says which."""

    code = "invalid_value"


class InvalidCredential(DirectoryError):
    """A federated credential breaks a rule; `faults` lists every one."""

    code = "invalid_federated_credential"


class TooManyCredentials(DirectoryError):
    """An identity has as many federated credentials as it may."""

    code = "too_many_federated_credentials"
    hint = "delete one that is no longer used, or give this workload an identity of its own"


class TrustNotUnique(DirectoryError):
    """Another federated credential of the identity trusts the same issuer and subject."""

    code = "issuer_and_subject_not_unique"
    status = 409
    hint = "change or delete the other one"


class Conflict(DirectoryError):
    """Something with this name or id is there already, and cannot become what was asked."""

    code = "conflict"
    status = 409


class NotFound(DirectoryError):
    """What a write names is not in the directory."""

    code = "not_found"
    status = 404


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One broken rule: in which field, and what is wrong with it."""

    field: str
    message: str


def is_lower_guid(text: str) -> bool:
    """Tell whether a text is a GUID in lower case."""
    return _GUID.fullmatch(text) is not None


def credential_faults(credential: FederatedCredential) -> list[Fault]:
    """List the rules that a federated credential breaks by itself.

    Source:  https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations
    """
    faults = []
    if not _CREDENTIAL_NAME.fullmatch(credential.name):
        faults.append(
            Fault(
                field="name",
                message=f"name {credential.name!r}: want 3 to 120 letters, digits, '-' and '_',"
                " beginning with a letter or digit",
            )
        )
    faults += _text_faults("issuer", credential.issuer) or _issuer_faults(credential.issuer)
    faults += _text_faults("subject", credential.subject) or _subject_faults(credential.subject)
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


def check_credential(credential: FederatedCredential) -> None:
    """Refuse a federated credential that breaks a rule by itself.

    Errors:  InvalidCredential, with all `faults`.
    """
    if faults := credential_faults(credential):
        raise InvalidCredential(
            "; ".join(fault.message for fault in faults),
            hint=f"mend {', '.join(dict.fromkeys(fault.field for fault in faults))}",
            name=credential.name,
            faults=[(fault.field, fault.message) for fault in faults],
        )


def check_together(credentials: Sequence[FederatedCredential]) -> None:
    """Refuse credentials that one identity cannot hold together.

    Errors:  TooManyCredentials; TrustNotUnique; Conflict for a name that stands twice.
    """
    if len(credentials) > MAX_CREDENTIALS:
        raise TooManyCredentials(
            f"an identity holds at most {MAX_CREDENTIALS} federated credentials",
            limit=MAX_CREDENTIALS,
        )
    names: set[str] = set()
    trusted: dict[tuple[str, str], str] = {}
    for credential in credentials:
        if credential.name in names:
            raise Conflict(
                f"the federated credential {credential.name} is there already",
                name=credential.name,
            )
        names.add(credential.name)
        trust = (credential.issuer, credential.subject)
        if trust in trusted:
            raise TrustNotUnique(
                f"{trusted[trust]} trusts issuer {trust[0]} and subject {trust[1]} already",
                name=credential.name,
                other=trusted[trust],
                issuer=trust[0],
                subject=trust[1],
            )
        trusted[trust] = credential.name


def replaced(
    credentials: Iterable[FederatedCredential], new: FederatedCredential
) -> tuple[FederatedCredential, ...]:
    """Give the credentials with the one of the same name replaced, or the new one added.

    The name is what a credential is found by, so it cannot change: another name is another credential.
    """
    kept = list(credentials)
    for place, credential in enumerate(kept):
        if credential.name == new.name:
            kept[place] = new
            return tuple(kept)
    return (*kept, new)


def check_identity(identity: Identity) -> None:
    """Refuse an identity whose ids or name are not written as they must be.

    Errors:  InvalidValue; those of its credentials.
    """
    for field in ("tenant_id", "client_id", "object_id"):
        check_guid(field, getattr(identity, field))
    managed = identity.kind is IdentityKind.MANAGED_IDENTITY
    if fault := name_fault(identity.name, identity.kind):
        raise InvalidValue(fault.message, field="name", name=identity.name)
    if managed is not (identity.resource_id is not None):
        raise InvalidValue(
            "a managed identity has a resource id, an application has none", field="resource_id"
        )
    for credential in identity.credentials:
        check_credential(credential)
    check_together(identity.credentials)


def name_fault(name: str, kind: IdentityKind) -> Fault | None:
    """Say what is wrong with an identity's name, if anything is."""
    if kind is IdentityKind.MANAGED_IDENTITY:
        fits = _MANAGED_NAME.fullmatch(name) is not None
        want = "3 to 128 letters, digits, '-' and '_', beginning with a letter or digit"
    else:
        fits = 0 < len(name) <= 120 and name.isprintable()
        want = "1 to 120 printable characters"
    return None if fits else Fault(field="name", message=f"name {name!r}: want {want}")


def vault_name_fault(name: str) -> Fault | None:
    """Say what is wrong with a vault's name, if anything is."""
    if _VAULT_NAME.fullmatch(name) and len(name) <= 24:
        return None
    return Fault(
        field="name",
        message=f"name {name!r}: want 3 to 24 lower-case letters, digits and single '-',"
        " beginning with a letter and ending with a letter or digit",
    )


def check_guid(field: str, value: str) -> None:
    """Refuse what is not a GUID in lower case.

    Errors:  InvalidValue.
    """
    if not is_lower_guid(value):
        raise InvalidValue(f"{field} {value!r}: want a GUID in lower case", field=field)


def check_domain(domain: str) -> None:
    """Refuse what is not a domain name in lower case.

    Errors:  InvalidValue.
    """
    if not _DOMAIN.fullmatch(domain) or is_lower_guid(domain):
        raise InvalidValue(f"domain {domain!r}: want a host name in lower case", field="domains")


def _too_long(field: str) -> Fault:
    return Fault(field=field, message=f"{field} is longer than {MAX_CHARS} characters")


def _text_faults(field: str, text: str) -> list[Fault]:
    if not text.strip():
        return [Fault(field=field, message=f"{field} is empty")]
    if len(text) > MAX_CHARS:
        return [_too_long(field)]
    # A line break here would forge lines wherever the value is printed, and could never match.
    if any(ord(sign) < 0x20 or ord(sign) == 0x7F for sign in text):
        return [Fault(field=field, message=f"{field} holds a control character")]
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


def _subject_faults(subject: str) -> list[Fault]:
    if "*" not in subject and "?" not in subject:
        return []
    return [
        Fault(
            field="subject",
            message=f"subject {subject!r}: a subject is compared as it stands, wildcards match"
            " nothing; name each subject in a federated credential of its own",
        )
    ]
