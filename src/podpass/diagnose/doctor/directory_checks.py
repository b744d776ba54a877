"""The checks of the stage directory: the identity, and its trust in the ServiceAccount. Pure."""

from collections.abc import Callable, Sequence

from podpass.diagnose.doctor import credential_difference
from podpass.diagnose.doctor.credential_difference import Difference, Mismatch, PresentedToken
from podpass.diagnose.doctor.issuer_checks import find_token
from podpass.diagnose.doctor.model import DirectoryIdentity, DoctorCheck, Facts, Problem, Stage
from podpass.diagnose.doctor.pods import find_audience
from podpass.directory.model import FederatedCredential
from podpass.facts import FactUnread, Unread, known
from podpass.provision.credential_commands import (
    CredentialOwner,
    create_credential,
    update_credential,
)
from podpass.provision.errors import sanitize
from podpass.provision.naming import MAX_CREDENTIALS, choose_credential_name


def is_same_directory(facts: Facts) -> bool:
    """Return whether the workload uses the tenant and the cloud that were read.

    Raises FactUnread if the tenant of the account is not known.
    """
    cloud, host = facts.cloud, facts.cluster.authority_host
    wanted = facts.cluster.tenant_id.lower()
    if not isinstance(cloud.authority, Unread) and cloud.authority.tenant_id:
        wanted = cloud.authority.tenant_id
    own = known(cloud.tenant_id).lower()
    in_cloud = not host or _host(host) in cloud.login_hosts
    return in_cloud and wanted in ("", own)


def _host(url: str) -> str:
    return url.partition("://")[2].partition("/")[0].lower()


def require_identity(facts: Facts) -> DirectoryIdentity:
    """Return the identity. Raises FactUnread if it was not read, or does not exist."""
    found = known(facts.cloud.identity)
    if found is None:
        raise FactUnread("the identity does not exist")
    return found


def _check_principal(facts: Facts) -> Problem | None:
    identity = require_identity(facts)
    if identity.principal_id:
        return None
    return Problem(
        identity.title,
        "the application has no service principal in the tenant, so no token can be issued for it",
        f"az ad sp create --id {identity.client_id}",
    )


def _check_enabled(facts: Facts) -> Problem | None:
    identity = require_identity(facts)
    if known(identity.enabled):
        return None
    return Problem(
        identity.title,
        "its service principal is disabled",
        f"az ad sp update --id {identity.principal_id} --set accountEnabled=true",
    )


def _read_credentials(facts: Facts) -> tuple[DirectoryIdentity, Sequence[FederatedCredential]]:
    identity = require_identity(facts)
    return identity, known(facts.cloud.credentials)


def read_presented(facts: Facts) -> PresentedToken:
    """Return what the tokens of the workload present. Raises FactUnread."""
    token = find_token(facts)
    if token is not None:
        return PresentedToken(issuer=token.issuer, subject=token.subject, audiences=token.audiences)
    audience = find_audience(facts.cluster) or facts.cloud.audience
    if not audience:
        raise FactUnread("the audience of the tokens is not known")
    return PresentedToken(
        issuer=known(facts.cluster.issuer),
        subject=facts.cluster.subject,
        audiences=(audience,),
    )


def _check_user_assigned(facts: Facts) -> Problem | None:
    identity = require_identity(facts)
    if not identity.is_system_assigned:
        return None
    return Problem(
        identity.title,
        "a system-assigned identity can have no federated credential",
        "create a user-assigned one: `podpass serviceaccount create --managed-identity-name NAME`",
    )


def _check_any(facts: Facts) -> Problem | None:
    identity, credentials = _read_credentials(facts)
    if credentials or identity.is_system_assigned:
        return None
    return Problem(
        identity.title,
        "it has no federated credential, so it trusts no ServiceAccount",
        _create(facts, identity, read_presented(facts)),
    )


def _check_flexible(facts: Facts) -> Problem | None:
    identity, credentials = _read_credentials(facts)
    flexible = [each for each in credentials if credential_difference.is_flexible(each)]
    presented = read_presented(facts)
    if not flexible or any(credential_difference.matches(each, presented) for each in credentials):
        return None
    meant = [each for each in flexible if each.issuer == presented.issuer]
    if not meant and len(flexible) < len(credentials):
        return None
    return Problem(
        _title((meant or flexible)[0], identity),
        "it has an expression in place of a subject, which Entra does not accept for tokens of Kubernetes",
        _create(facts, identity, presented),
    )


def _check_member(member: str) -> Callable[[Facts], Problem | None]:
    def check(facts: Facts) -> Problem | None:
        identity, credentials = _read_credentials(facts)
        presented = read_presented(facts)
        found = credential_difference.find_mismatch(credentials, presented)
        if found is None or found.member != member:
            return None
        return Problem(
            _title(found.credential, identity),
            _describe(found, len(credentials)),
            _repair(facts, identity, found, presented),
        )

    return check


def _title(credential: FederatedCredential, identity: DirectoryIdentity) -> str:
    return f"federated credential {sanitize(credential.name)} of {identity.title}"


def _describe(found: Mismatch, count: int) -> str:
    first, *others = found.differences
    text = _describe_one(first)
    if others:
        text += f"; its {' and its '.join(each.member for each in others)} would not match either"
    if not found.is_near and count > 1:
        text = f"none of the {count} federated credentials trusts the token; in the most similar one, {text}"
    return text


def _describe_one(one: Difference) -> str:
    text = (
        f"the {one.member} is {sanitize(one.expected)!r}, that of the token {sanitize(one.presented)!r}:"
        f" {one.cause}"
    )
    if one.is_near:
        text += f" ({credential_difference.describe_position(one.expected, one.presented)})"
    return text


def _repair(
    facts: Facts, identity: DirectoryIdentity, found: Mismatch, presented: PresentedToken
) -> str:
    """Return the command: a near credential is corrected, for another one a new one is created."""
    if not found.is_near:
        return _create(facts, identity, presented)
    return update_credential(_owner(identity), _trusting(found.credential.name, presented))


def _create(facts: Facts, identity: DirectoryIdentity, presented: PresentedToken) -> str:
    namespace, account = facts.cluster.namespace_name, facts.cluster.account_name
    taken = [each.name for each in known(facts.cloud.credentials)]
    name = choose_credential_name(namespace, account, presented.issuer, taken)
    return create_credential(_owner(identity), _trusting(name, presented))


def _owner(identity: DirectoryIdentity) -> CredentialOwner:
    return CredentialOwner(
        name=identity.name, client_id=identity.client_id, resource_id=identity.resource_id
    )


def _trusting(name: str, presented: PresentedToken) -> FederatedCredential:
    return FederatedCredential(
        name=name,
        issuer=presented.issuer,
        subject=presented.subject,
        audiences=presented.audiences[:1],
    )


def _check_limit(facts: Facts) -> Problem | None:
    identity, credentials = _read_credentials(facts)
    if len(credentials) < MAX_CREDENTIALS:
        return None
    found = credential_difference.find_mismatch(credentials, read_presented(facts))
    if found is None or found.is_near:
        return None
    return Problem(
        identity.title,
        f"it has {len(credentials)} of {MAX_CREDENTIALS} federated credentials, and none trusts the"
        " ServiceAccount; no further one can be created",
        "delete a credential that is not used, or use another identity: `podpass graph` lists unused ones",
    )


def _row(name: str, meaning: str, run: Callable[[Facts], Problem | None]) -> DoctorCheck:
    return DoctorCheck(name, Stage.DIRECTORY, meaning, run)


CHECKS: tuple[DoctorCheck, ...] = (
    _row(
        "identity-system-assigned",
        "the managed identity is user-assigned",
        _check_user_assigned,
    ),
    _row("principal-missing", "the application has a service principal", _check_principal),
    _row("principal-disabled", "the service principal is enabled", _check_enabled),
    _row("credential-missing", "the identity has a federated credential", _check_any),
    _row("credential-flexible", "the credential has a subject, not an expression", _check_flexible),
    _row(
        "credential-limit",
        f"the identity has room among its {MAX_CREDENTIALS} credentials",
        _check_limit,
    ),
    _row(
        "credential-issuer-differs",
        "a credential has the issuer of the token, byte for byte",
        _check_member(credential_difference.ISSUER),
    ),
    _row(
        "credential-audience-differs",
        "a credential has the audience of the token",
        _check_member(credential_difference.AUDIENCE),
    ),
    _row(
        "credential-subject-differs",
        "a credential has the subject of the token, byte for byte",
        _check_member(credential_difference.SUBJECT),
    ),
)
