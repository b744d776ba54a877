"""Find what is probably not intended in the trust graph. Pure."""

import shlex
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from difflib import get_close_matches
from os.path import commonprefix

from podpass.diagnose.graph.edges import CredentialMatch, can_sign_in, is_injected
from podpass.diagnose.graph.model import (
    AccountFacts,
    TrustFacts,
    TrustFinding,
    account_id,
    credential_id,
    identity_id,
)
from podpass.directory import resource_ids, roles
from podpass.directory.model import FederatedCredential, Identity, RoleAssignment, RoleDefinition
from podpass.directory.rules import MAX_CREDENTIALS
from podpass.guids import is_guid
from podpass.provision.credential_commands import (
    CredentialOwner,
    create_credential,
    update_credential,
)
from podpass.provision.naming import choose_credential_name

# The finding begins with the 18th of 20 credentials.
_FREE_CREDENTIALS = 3
_MAX_NAMES = 5
_ASSIGN = "Microsoft.Authorization/roleAssignments/write"
_TRUST = "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials/write"
_EVERYTHING = "*"
# Subjects that are compared on each side of another one, in each of two orders.
_NEIGHBOURS = 3
_GROUP_SEGMENTS = 4  # /subscriptions/S/resourceGroups/G


def find_findings(facts: TrustFacts, matches: Sequence[CredentialMatch]) -> Iterator[TrustFinding]:
    """Yield the findings: of accounts, of credentials, of identities."""
    yield from _of_accounts(facts, matches)
    matched = {credential_id(each.identity, each.credential) for each in matches}
    similar = _SimilarSubjects(each.subject for each in facts.cluster.accounts or ())
    for identity in facts.directory.identities:
        for credential in identity.credentials:
            yield from _of_credential(facts, identity, credential, matched, similar)
        used = len(identity.credentials)
        if used > MAX_CREDENTIALS - _FREE_CREDENTIALS:
            yield _about(
                identity,
                "credentials_near_limit",
                f"it has {used} of {MAX_CREDENTIALS} federated credentials",
                "use another identity for more workloads, or delete credentials that match nothing",
            )
    yield from _shared(matches)
    yield from _wide_roles(facts)


def _about(
    subject: AccountFacts | Identity, code: str, message: str, note: str, command: str = ""
) -> TrustFinding:
    if isinstance(subject, AccountFacts):
        node, title = account_id(subject.key), f"ServiceAccount {subject.key}"
    else:
        node, title = identity_id(subject), f"identity {subject.name}"
    return TrustFinding(
        code=code, node=node, object=title, message=message, note=note, command=command
    )


def _of_accounts(facts: TrustFacts, matches: Sequence[CredentialMatch]) -> Iterator[TrustFinding]:
    by_client = {each.client_id: each for each in facts.directory.identities}
    by_object = {each.object_id: each for each in facts.directory.identities}
    trusting: dict[str, set[str]] = defaultdict(set)
    for each in matches:
        if isinstance(each.owner, AccountFacts):
            trusting[each.owner.key].add(each.identity.client_id)
    tenant = facts.directory.tenant_id
    for account in facts.cluster.accounts or ():
        # Of another tenant, nothing was read; without an annotation, the account names no identity.
        if not account.client_id or (account.tenant_id or tenant).lower() != tenant:
            continue
        identity = by_client.get(account.client_id.lower())
        if identity is None:
            # What was not read may be the identity.
            if facts.directory.has_all_identities:
                other = by_object.get(account.client_id.lower())
                yield _unknown_identity(account, other, trusting[account.key])
        elif not can_sign_in(identity):
            yield _about(
                account,
                "identity_disabled",
                f"its identity {identity.name} is disabled or has no service principal, so every"
                " exchange is refused",
                "enable it:",
                f"az ad sp update --id {identity.client_id} --set accountEnabled=true",
            )
        elif identity.client_id in facts.directory.without_credentials or not facts.cluster.issuer:
            continue
        elif identity.client_id not in trusting[account.key]:
            yield _not_trusted(facts, account, identity)


def _unknown_identity(
    account: AccountFacts, other: Identity | None, trusting: Collection[str]
) -> TrustFinding:
    """Return the finding; `other` is the identity whose principal id is in the annotation."""
    given = account.client_id or ""
    if other is not None:
        message = f"its client-id annotation is the principal id of {other.name}, not its client id"
        note, command = "", _annotate(account, other.client_id)
    else:
        message = f"its client-id annotation {given[:64]!r} is not a GUID"
        if is_guid(given):
            message = (
                f"its client-id annotation {given} names no identity that was read in the tenant"
            )
        note, command = _suggest_annotation(account, trusting)
    return _about(account, "identity_unknown", message, note, command)


def _suggest_annotation(account: AccountFacts, trusting: Collection[str]) -> tuple[str, str]:
    """Return a note and the command that annotates the account.

    The command has the client id if exactly one identity trusts the account. Otherwise it has a placeholder,
    and the note says which commands list client ids.
    """
    if len(trusting) == 1:
        return "", _annotate(account, *trusting)
    note = "`az identity list` and `az ad app list` print the client ids:"
    return note, _annotate(account, "CLIENT-ID")


def _annotate(account: AccountFacts, client_id: str) -> str:
    return (
        f"kubectl annotate serviceaccount {account.name} --namespace {account.namespace} --overwrite"
        f" azure.workload.identity/client-id={client_id}"
    )


def _not_trusted(facts: TrustFacts, account: AccountFacts, identity: Identity) -> TrustFinding:
    subject = account.subject
    of_subject = [each for each in identity.credentials if each.subject == subject]
    similar = [each for each in identity.credentials if each.subject.lower() == subject.lower()]
    if of_subject:
        why = f"its credential {of_subject[0].name} has the issuer {of_subject[0].issuer}"
    elif similar:
        why = f"its credential {similar[0].name} has the subject {similar[0].subject}; case counts"
    else:
        count = len(identity.credentials)
        others = f"none of its {count} credentials has" if count > 1 else "no credential of it has"
        why = f"{others} the subject {subject}"
    message = f"its identity {identity.name} does not trust it: {why}"
    fix = _trust(facts, identity, facts.cluster.issuer, subject)
    return _about(account, "account_not_trusted", message, "", fix)


def _trust(facts: TrustFacts, identity: Identity, issuer: str, subject: str) -> str:
    """Return the command that makes an identity trust a subject: it corrects a credential of other case."""
    _, _, namespace, account = subject.split(":", 3)
    if identity.resource_id:
        owner = CredentialOwner(
            name=identity.name, client_id=identity.client_id, resource_id=identity.resource_id
        )
        similar = _name_of_other_case(identity, issuer, subject)
        taken = (each.name for each in identity.credentials)
        credential = FederatedCredential(
            name=similar or choose_credential_name(namespace, account, issuer, taken),
            issuer=issuer,
            subject=subject,
            audiences=(facts.cluster.audience,),
        )
        write = update_credential if similar else create_credential
        return write(owner, credential)
    return _command(
        *("podpass", "serviceaccount", "create", "phase", "federated-identity"),
        *("--service-account-issuer-url", issuer),
        *("--service-account-namespace", namespace, "--service-account-name", account),
        *("--aad-application-name", identity.name),
    )


def _name_of_other_case(identity: Identity, issuer: str, subject: str) -> str | None:
    """Return the name of the credential whose subject differs only in case; None if none has to change."""
    of_issuer = [each for each in identity.credentials if each.issuer == issuer]
    if any(each.subject == subject for each in of_issuer):
        return None
    similar = (each.name for each in of_issuer if each.subject.lower() == subject.lower())
    return next(similar, None)


def _delete(identity: Identity, credential: FederatedCredential) -> str:
    located = resource_ids.group_of(identity.resource_id or "")
    if located is not None:
        return _command(
            *("az", "identity", "federated-credential", "delete", "--name", credential.name),
            *("--identity-name", identity.name, "--resource-group", located[1]),
        )
    return _command(
        *("az", "ad", "app", "federated-credential", "delete", "--id", identity.client_id),
        *("--federated-credential-id", credential.id or credential.name),
    )


def _command(*words: str) -> str:
    return shlex.join(words)


def _of_credential(
    facts: TrustFacts,
    identity: Identity,
    credential: FederatedCredential,
    matched: set[str],
    similar: "_SimilarSubjects",
) -> Iterator[TrustFinding]:
    node = credential_id(identity, credential)
    about = f"credential {credential.name} of {identity.name}"

    def finding(code: str, message: str, command: str, note: str = "") -> TrustFinding:
        return TrustFinding(
            code=code, node=node, object=about, message=message, note=note, command=command
        )

    issuers, own = facts.allowed_issuers, facts.directory.issuers
    if issuers and credential.issuer not in issuers and credential.issuer not in own:
        message = f"its issuer {credential.issuer} is not in the list of allowed issuers"
        yield finding("issuer_not_allowed", message, _delete(identity, credential))
    is_of_cluster = bool(facts.cluster.issuer) and credential.issuer == facts.cluster.issuer
    if node not in matched:
        if is_of_cluster and facts.cluster.accounts is not None:
            near = "" if credential.expression else similar.find(credential.subject)
            hint = f"; the most similar is {near}" if near else ""
            message = f"no ServiceAccount of the cluster has its subject {credential.subject}{hint}"
            if credential.expression:
                message = f"no ServiceAccount of the cluster matches {credential.expression}"
            # A subject of other case is corrected: its deletion would undo the fix of `account_not_trusted`.
            other = near if near.lower() == credential.subject.lower() else ""
            if other and _name_of_other_case(identity, credential.issuer, other) == credential.name:
                fix = _trust(facts, identity, credential.issuer, other)
            else:
                fix = _delete(identity, credential)
            yield finding("subject_matches_nothing", message, fix)
        return
    if is_of_cluster and not is_injected(credential, facts):
        message = (
            f"its audience {', '.join(credential.audiences)} is not {facts.cluster.audience}, so the token"
            " that the webhook injects does not match"
        )
        deletion = _delete(identity, credential)
        yield finding("audience_differs", message, deletion, "recreate it; first")
    exchanges = facts.directory.exchanges
    if exchanges is not None and (identity.client_id, credential.name) not in exchanges:
        message = "no exchange with it is in the instance's log"
        deletion = _delete(identity, credential)
        yield finding("credential_not_used", message, deletion, "if no workload needs it:")


class _SimilarSubjects:
    """Finds the subject that another text probably means.

    A typo leaves the beginning or the end of a subject as it is. So only a few neighbours in the order of the
    subjects, and in that of the reversed subjects, are compared: the time of a search is limited.
    """

    def __init__(self, subjects: Iterable[str]) -> None:
        lower = [(each.lower(), each) for each in subjects]
        self._orders = (sorted(lower), sorted((text[::-1], each) for text, each in lower))

    def find(self, subject: str) -> str:
        """Return the most similar subject; empty if its namespace or its name is not similar.

        They are compared separately, because the prefix of all subjects is the same.
        """
        lower = subject.lower()
        near = max(
            self._neighbours(lower), key=lambda each: (_equal_ends(lower, each), each), default=""
        )
        pairs = list(zip(lower.split(":")[2:], near.lower().split(":")[2:], strict=False))
        is_similar = all(get_close_matches(a, [b], cutoff=0.75) for a, b in pairs)
        return near if len(pairs) == 2 and is_similar else ""

    def _neighbours(self, lower: str) -> set[str]:
        found = set()
        for order, text in zip(self._orders, (lower, lower[::-1]), strict=True):
            at = bisect_left(order, (text,))
            found |= {each for _, each in order[max(at - _NEIGHBOURS, 0) : at + _NEIGHBOURS]}
        return found


def _equal_ends(lower: str, other: str) -> int:
    """Return how many characters at the beginning and at the end of two texts are equal."""
    pair = (lower, other.lower())
    pairs = (pair, [each[::-1] for each in pair])
    return sum(len(commonprefix(each)) for each in pairs)  # noqa: RUF071 characters are compared


def _shared(matches: Iterable[CredentialMatch]) -> Iterator[TrustFinding]:
    namespaces: dict[str, set[str]] = defaultdict(set)
    by_client: dict[str, Identity] = {}
    for match in matches:
        if isinstance(match.owner, AccountFacts):
            namespaces[match.identity.client_id].add(match.owner.namespace)
            by_client[match.identity.client_id] = match.identity
    for client_id, found in namespaces.items():
        if len(found) > 1:
            identity = by_client[client_id]
            shown = ", ".join(sorted(found)[:_MAX_NAMES])
            more = f" and {len(found) - _MAX_NAMES} more" if len(found) > _MAX_NAMES else ""
            yield _about(
                identity,
                "shared_identity",
                f"accounts of {len(found)} namespaces can become it: {shown}{more}",
                "give each namespace its own identity, so that each can lose its access alone",
            )


def _wide_roles(facts: TrustFacts) -> Iterator[TrustFinding]:
    by_principal = {each.object_id.lower(): each for each in facts.directory.identities}
    defined = facts.directory.permissions_by_role()
    for assignment in facts.directory.assignments:
        identity = by_principal.get(assignment.principal_id.lower())
        role = defined.get(assignment.role.lower())
        if identity is None or not role or not _is_wide_scope(assignment.scope):
            continue
        if why := describe_width(*role):
            yield _about(
                identity,
                "wide_role",
                f"its role {role[0].name} at {assignment.scope} {why}",
                "assign a smaller role at the resource, then:",
                _deletion_command(assignment, role[0]),
            )


def _deletion_command(assignment: RoleAssignment, role: RoleDefinition) -> str:
    return _command(
        *("az", "role", "assignment", "delete", "--assignee", assignment.principal_id),
        *("--role", role.name, "--scope", assignment.scope),
    )


def _is_wide_scope(scope: str) -> bool:
    """Return whether a scope is a resource group or above: a subscription, management group or the root."""
    parts = scope.lower().strip("/").split("/")
    return parts[0] != "subscriptions" or len(parts) <= _GROUP_SEGMENTS


def describe_width(*role: RoleDefinition) -> str:
    """Return what makes a role, given by its permission blocks, wide; empty for other roles."""
    if roles.is_permitted(role, _ASSIGN):
        return "can assign any role there"
    if any(_EVERYTHING in (*each.actions, *each.data_actions) for each in role):
        return "manages every resource there"
    if roles.is_permitted(role, _TRUST):
        return "can make every managed identity there trust other accounts"
    if roles.is_permitted(role, roles.SET_SECRET, data=True):
        return "reads and changes the secrets of every vault there"
    return ""
