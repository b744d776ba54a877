"""The checks of the cloud half: what Entra reads from the issuer, identity, exchange and resource. Pure."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from podpass import names
from podpass.assertion.publishing.documents import MAX_DOCUMENT_BYTES
from podpass.assertion.publishing.entra_rules import check_issuer
from podpass.clouds import CLOUDS, find_cloud
from podpass.crypto import jose
from podpass.diagnose.doctor import fixes
from podpass.diagnose.doctor.check_table import CheckTable
from podpass.diagnose.doctor.credentials import (
    AUDIENCE,
    EXPRESSION,
    SUBJECT,
    Difference,
    Mismatch,
    PresentedToken,
    describe_position,
    find_mismatch,
    is_flexible,
    matches,
)
from podpass.diagnose.doctor.credentials import (
    ISSUER as ISSUER_MEMBER,
)
from podpass.diagnose.doctor.model import (
    AssignedRole,
    AuthorityFacts,
    ContainerFacts,
    DirectoryIdentity,
    Document,
    ExchangeFacts,
    Facts,
    IssuerFacts,
    PodToken,
    Problem,
    ResourceFacts,
    Stage,
)
from podpass.diagnose.doctor.pods import find_audience
from podpass.directory import resource_ids, roles
from podpass.directory.builtin_roles import VAULT_ROLES
from podpass.directory.model import FederatedCredential
from podpass.exchange.errors import numbers
from podpass.exchange.errors.explanations import find_explanation
from podpass.facts import FactUnread, Unread, known
from podpass.provision.credential_commands import (
    CredentialOwner,
    create_credential,
    update_credential,
)
from podpass.provision.errors import sanitize
from podpass.provision.naming import MAX_CREDENTIALS, choose_credential_name

ISSUER = CheckTable(Stage.ASSERTION)
DIRECTORY = CheckTable(Stage.DIRECTORY)
EXCHANGE = CheckTable(Stage.EXCHANGE)
RESOURCE = CheckTable(Stage.RESOURCE)
_GUIDE = "see docs/operate/issuers.md"
_PUBLISH = f"publish both documents with `podpass issuer publish`; {_GUIDE}"
_ALGORITHM = "RS256"
# Entra accepts a lifetime of 25 hours, and clocks that differ by five minutes.
_MAX_LIFETIME = 25 * 3600
_MAX_SKEW = 300
# No credential matched. With a credential that matches, it is not visible to the token service yet.
_NO_MATCH = frozenset({70021, 70025, 700211, 700212, 700213, 7002131, 7002138})


def find_token(facts: Facts) -> PodToken | None:
    """Return the token in the pod, else the one that was requested for an exchange; None without either."""
    container = facts.cluster.container
    if isinstance(container, ContainerFacts) and isinstance(container.token, PodToken):
        return container.token
    exchange = facts.cloud.exchange
    return exchange.token if isinstance(exchange, ExchangeFacts) else None


def _object(issuer: str) -> str:
    return f"issuer {sanitize(issuer)}"


@ISSUER.check("issuer-invalid", "the issuer is an https URL without query and fragment")
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


@ISSUER.check("issuer-private", "the host of the issuer is on the internet")
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


@ISSUER.check("discovery-unreachable", "anyone can read the discovery document, without a redirect")
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


@ISSUER.check("discovery-issuer-differs", "the discovery document names the issuer, byte for byte")
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


@ISSUER.check("discovery-incomplete", "the discovery document has what Entra requires")
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


@ISSUER.check("keys-unreachable", "anyone can read the JWKS, without a redirect")
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


@ISSUER.check("key-not-published", "the JWKS has the key that signs the tokens")
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


@ISSUER.check("key-refused", "that key is an RSA key of at least 2048 bits")
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


@DIRECTORY.check("identity-system-assigned", "the managed identity is user-assigned")
def _check_user_assigned(facts: Facts) -> Problem | None:
    identity = require_identity(facts)
    if not identity.is_system_assigned:
        return None
    return Problem(
        identity.title,
        "a system-assigned identity can have no federated credential",
        "create a user-assigned one: `podpass serviceaccount create --managed-identity-name NAME`",
    )


@DIRECTORY.check("principal-missing", "the application has a service principal")
def _check_principal(facts: Facts) -> Problem | None:
    identity = require_identity(facts)
    if identity.principal_id:
        return None
    return Problem(
        identity.title,
        "the application has no service principal in the tenant, so no token can be issued for it",
        f"az ad sp create --id {identity.client_id}",
    )


@DIRECTORY.check("principal-disabled", "the service principal is enabled")
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


@DIRECTORY.check("credential-missing", "the identity has a federated credential")
def _check_any(facts: Facts) -> Problem | None:
    identity, credentials = _read_credentials(facts)
    if credentials or identity.is_system_assigned:
        return None
    return Problem(
        identity.title,
        "it has no federated credential, so it trusts no ServiceAccount",
        _create(facts, identity, read_presented(facts)),
    )


def _accepts_expressions(facts: Facts) -> bool:
    """Return whether the token service accepts expressions for the issuer of the cluster; Entra does not."""
    exchange, authority = facts.cloud.exchange, facts.cloud.authority
    if isinstance(exchange, ExchangeFacts):
        return exchange.status == 200 or exchange.number == numbers.EXPRESSION_MISMATCH
    return isinstance(authority, AuthorityFacts) and authority.has_flexible_kubernetes


@DIRECTORY.check("credential-flexible", "the token service accepts an expression for the cluster")
def _check_flexible(facts: Facts) -> Problem | None:
    identity, credentials = _read_credentials(facts)
    presented = read_presented(facts)
    found = find_mismatch(credentials, presented)
    meant = [each for each in credentials if matches(each, presented)]
    if found is not None and found.member == EXPRESSION:
        meant = [found.credential]
    if not meant or not all(map(is_flexible, meant)) or _accepts_expressions(facts):
        return None
    return Problem(
        _title(meant[0], identity),
        "it has an expression in place of a subject, which Entra does not accept for tokens of Kubernetes",
        _create(facts, identity, presented),
    )


@DIRECTORY.check("credential-expression-differs", "an expression matches the claims of the token")
def _check_expression(facts: Facts) -> Problem | None:
    identity, credentials = _read_credentials(facts)
    presented = read_presented(facts)
    found = find_mismatch(credentials, presented)
    if found is None or found.member != EXPRESSION or not _accepts_expressions(facts):
        return None
    exchange = facts.cloud.exchange
    if isinstance(exchange, ExchangeFacts) and exchange.status == 200:
        return None  # an API that does not show the expression
    clauses = "; ".join(sanitize(each.cause) for each in found.differences)
    return Problem(
        _title(found.credential, identity),
        f"a clause of its expression does not match: {clauses}",
        _create(facts, identity, presented),
    )


def _check_member(member: str) -> Callable[[Facts], Problem | None]:
    def check(facts: Facts) -> Problem | None:
        identity, credentials = _read_credentials(facts)
        presented = read_presented(facts)
        found = find_mismatch(credentials, presented)
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
        text += f" ({describe_position(one.expected, one.presented)})"
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


@DIRECTORY.check(
    "credential-limit", f"the identity has room among its {MAX_CREDENTIALS} credentials"
)
def _check_limit(facts: Facts) -> Problem | None:
    identity, credentials = _read_credentials(facts)
    if len(credentials) < MAX_CREDENTIALS:
        return None
    found = find_mismatch(credentials, read_presented(facts))
    if found is None or found.is_near:
        return None
    return Problem(
        identity.title,
        f"it has {len(credentials)} of {MAX_CREDENTIALS} federated credentials, and none trusts the"
        " ServiceAccount; no further one can be created",
        "delete a credential that is not used, or use another identity: `podpass graph` lists unused ones",
    )


_TRUSTED = (
    "issuer of the token, byte for byte",
    "audience of the token",
    "subject of the token, byte for byte",
)
for _member, _meaning in zip((ISSUER_MEMBER, AUDIENCE, SUBJECT), _TRUSTED, strict=True):
    DIRECTORY.check(f"credential-{_member}-differs", f"a credential has the {_meaning}")(
        _check_member(_member)
    )


@EXCHANGE.check(
    "authority-of-other-cloud", "the authority of the pod is that of the identity's cloud"
)
def _check_authority(facts: Facts) -> Problem | None:
    given = facts.cluster.authority_host
    if not given:
        return None
    title = f"{names.ENV_AUTHORITY_HOST} {sanitize(given)}"
    try:
        parts = urlsplit(given)
        host = parts.netloc.lower()
    except ValueError:
        host, parts = "", urlsplit("")
    if parts.scheme != "https" or not host or "@" in host:
        return Problem(title, "it is not an https URL", _fix_authority(facts))
    if not facts.cloud.login_hosts:
        raise FactUnread("the cloud of the identity is not known")
    if host in facts.cloud.login_hosts:
        return None
    other = find_cloud(host)
    what = f"the token service of {other.name}" if other else "no token service of a known cloud"
    if isinstance(facts.cloud.identity, Unread) or facts.cloud.identity is None:
        hint = f"--azure-env {other.name}" if other else "--azure-env"
        raise FactUnread(
            f"{host} is {what}, and the sign-in is for {facts.cloud.cloud}: pass {hint}"
        )
    return Problem(
        title,
        f"it is {what}, and the identity is in {facts.cloud.cloud}",
        _fix_authority(facts),
    )


@EXCHANGE.check("authority-not-asked", "the pod asks the authority that it was given")
def _check_asked_authority(facts: Facts) -> Problem | None:
    asked = facts.cloud.asked
    # Another check reports a variable of the container itself.
    if asked is None or facts.cluster.authority_container:
        return None
    where = f"the gateway had a client at {asked.source}"
    return Problem(facts.cluster.workload, f"{where}: {sanitize(asked.cause)}", asked.fix)


def has_wrong_authority(facts: Facts) -> bool:
    """Return whether a check names an authority that the pod asks and must not ask."""
    try:
        return bool(_check_authority(facts) or _check_asked_authority(facts))
    except FactUnread:
        return False


def _fix_authority(facts: Facts) -> str:
    if own := fixes.remove_authority(facts.cluster):
        return own
    cloud = CLOUDS.get(facts.cloud.cloud)
    name = f" ({cloud.name})" if cloud else ""
    return (
        "set the value azureEnvironment of the webhook to the cloud of the identity"
        f"{name}, then restart the pod"
    )


def _tenant_title(facts: Facts) -> str:
    return f"tenant {sanitize(facts.cluster.tenant_id)}"


def _fix_tenant(facts: Facts) -> str:
    own = facts.cloud.tenant_id
    wanted = own if isinstance(own, str) else "of the identity"
    return (
        f"set the annotation {names.TENANT_ID} of the ServiceAccount, or the webhook's"
        f" azureTenantID, to {wanted}"
    )


@EXCHANGE.check("tenant-unknown", "the token service knows the tenant")
def _check_tenant_exists(facts: Facts) -> Problem | None:
    authority = known(facts.cloud.authority)
    if authority.tenant_id:
        return None
    return Problem(
        _tenant_title(facts), "the token service knows no such tenant", _fix_tenant(facts)
    )


@EXCHANGE.check("tenant-of-other-identity", "the tenant of the pod is that of the identity")
def _check_same_tenant(facts: Facts) -> Problem | None:
    authority, own = known(facts.cloud.authority), known(facts.cloud.tenant_id)
    identity = known(facts.cloud.identity)
    if not authority.tenant_id or authority.tenant_id == own.lower() or identity is None:
        return None
    if not identity.is_managed and identity.owner_tenant.lower() not in ("", own.lower()):
        return None  # a multi-tenant application can be used in another tenant
    return Problem(
        _tenant_title(facts),
        f"the {identity.title} is in the tenant {own}, so this tenant issues no token for it",
        _fix_tenant(facts),
    )


@EXCHANGE.check("audience-of-other-cloud", "the audience of the token is that of the cloud")
def _check_cloud_audience(facts: Facts) -> Problem | None:
    if not facts.cloud.audience:
        raise FactUnread("the cloud of the identity is not known")
    presented = read_presented(facts)
    others = {each.exchange_audience: each.name for each in CLOUDS.values()}
    others.pop(facts.cloud.audience, None)
    wrong = next((each for each in presented.audiences if each in others), None)
    if wrong is None or facts.cloud.audience in presented.audiences:
        return None
    return Problem(
        f"audience {wrong}",
        f"the token is for {others[wrong]}, and the identity is in {facts.cloud.cloud}, whose audience is"
        f" {facts.cloud.audience}",
        f"set the webhook's --audience to {facts.cloud.audience}, then restart the pod",
    )


def _timed(facts: Facts) -> tuple[PodToken, float]:
    """Return the token and the clock of the token service. Raises FactUnread."""
    token, authority = find_token(facts), facts.cloud.authority
    if token is None:
        raise FactUnread("no token was read")
    now = authority.now if isinstance(authority, AuthorityFacts) else None
    return token, facts.cluster.now if now is None else now


@EXCHANGE.check("token-lives-too-long", "the token lives at most 25 hours", optional=True)
def _check_lifetime(facts: Facts) -> Problem | None:
    token, _ = _timed(facts)
    hours = (token.expires - token.issued) / 3600
    if token.expires - token.issued <= _MAX_LIFETIME:
        return None
    return Problem(
        f"token of {facts.cluster.workload}",
        f"its lifetime is {hours:.0f} hours, and Entra accepts at most 25",
        f"set the annotation {names.TOKEN_EXPIRATION} to at most 86400, then restart the pod",
    )


@EXCHANGE.check("token-not-yet-valid", "the clock of the API server is not ahead", optional=True)
def _check_not_future(facts: Facts) -> Problem | None:
    token, now = _timed(facts)
    ahead = token.issued - now
    if ahead <= _MAX_SKEW:
        return None
    return Problem(
        f"token of {facts.cluster.workload}",
        f"it is valid only in {ahead / 60:.0f} minutes by the clock of the token service: the clock"
        " of the API server is ahead",
        "synchronize the clocks of the control plane: `timedatectl` shows whether NTP is active",
    )


@EXCHANGE.check(
    "credential-not-visible", "the token service has the credential already", optional=True
)
def _check_propagation(facts: Facts) -> Problem | None:
    exchange = known(facts.cloud.exchange)
    if exchange.number not in _NO_MATCH:
        return None
    credentials, presented = known(facts.cloud.credentials), read_presented(facts)
    accepted = [
        each for each in credentials if not is_flexible(each) or _accepts_expressions(facts)
    ]
    match = next((each for each in accepted if matches(each, presented)), None)
    if match is None:
        return None
    return Problem(
        f"federated credential {sanitize(match.name)}",
        f"it matches the token letter by letter, and the token service does not find it yet"
        f" (AADSTS{exchange.number}): a new credential takes effect after seconds to minutes",
        "wait, then run `podpass doctor` again; pods repeat the exchange by themselves",
    )


@EXCHANGE.check(
    "exchange-refused", "the token service accepts a token of the ServiceAccount", optional=True
)
def _check_exchange(facts: Facts) -> Problem | None:
    exchange = known(facts.cloud.exchange)
    if exchange.status == 200:
        return None
    if exchange.number in _NO_MATCH and not isinstance(facts.cloud.credentials, Unread):
        return None  # the credential checks report the cause
    explained = find_explanation(exchange.number) if exchange.number else None
    return Problem(
        f"exchange of {facts.cluster.subject}",
        f"the token service refused the token: {exchange.message or f'status {exchange.status}'}",
        explained.resolution if explained else "run `podpass explain` with this message",
    )


def _resource(facts: Facts) -> ResourceFacts:
    """Return the resource. Raises FactUnread if none was named."""
    found = known(facts.cloud.resource)
    if found is None:
        raise FactUnread("no resource was named: pass --vault or --resource")
    return found


def _existing(facts: Facts) -> ResourceFacts:
    found = _resource(facts)
    if not found.exists:
        raise FactUnread(f"the {found.title} was not found")
    return found


@RESOURCE.check("vault-unknown", "the vault exists", optional=True)
def _check_exists(facts: Facts) -> Problem | None:
    found = _resource(facts)
    if found.exists:
        return None
    name = found.title.rpartition(" ")[2]
    if found.deleted:
        return Problem(
            found.title,
            "it was deleted, and can be recovered with its secrets; its role assignments were deleted too",
            f"az keyvault recover --name {name}",
        )
    similar = [sanitize(each) for each in found.similar]
    if not facts.cloud.is_only_directory and not found.is_exact:
        near = f"; a vault with a similar name is {similar[0]}" if similar else ""
        raise FactUnread(
            f"the subscription that was read has no {found.title}{near}; pass the resource id of a vault"
            " of another subscription with --vault"
        )
    return Problem(found.title, "there is no such vault", _suggest_vault(facts, similar))


def _suggest_vault(facts: Facts, similar: Sequence[str]) -> str:
    if len(similar) == 1:
        return f"correct the address of the vault in the program or in the pod: {similar[0]}"
    listing = "podpass vault list" if facts.cloud.is_only_directory else "az keyvault list -o table"
    if similar:
        return f"use one of {', '.join(similar)}; `{listing}` prints all vaults"
    return f"`{listing}` prints the vaults; correct the address in the program or in the pod"


def _allows(role: AssignedRole, found: ResourceFacts) -> bool:
    if not found.action:
        return True
    return any(roles.allows(each, found.action, data=found.is_data) for each in role.permissions)


def _split(found: ResourceFacts) -> tuple[list[AssignedRole], list[AssignedRole]]:
    """Return the roles at the resource, above it or at a part of it, and the roles elsewhere."""
    here: list[AssignedRole] = []
    elsewhere: list[AssignedRole] = []
    for role in known(found.roles):
        is_here = resource_ids.covers(role.scope, found.resource_id) or resource_ids.covers(
            found.resource_id, role.scope
        )
        (here if is_here else elsewhere).append(role)
    return here, elsewhere


@RESOURCE.check(
    "role-missing", "the identity has a role at the resource or above it", optional=True
)
def _check_assigned(facts: Facts) -> Problem | None:
    found, identity = _existing(facts), require_identity(facts)
    if not found.uses_roles:
        return None
    here, elsewhere = _split(found)
    if here:
        return None
    message = f"{identity.title} has no role there"
    near = [each for each in elsewhere if _allows(each, found)]
    if near:
        message += f"; it has {sanitize(near[0].name)} at {sanitize(near[0].scope)}"
    return Problem(found.title, message, _assign(found, identity))


@RESOURCE.check("role-insufficient", "one of these roles allows the action", optional=True)
def _check_allowed(facts: Facts) -> Problem | None:
    found, identity = _existing(facts), require_identity(facts)
    if not found.uses_roles:
        return None
    here, _ = _split(found)
    if not here or any(_allows(each, found) for each in here):
        return None
    held = ", ".join(dict.fromkeys(sanitize(each.name) for each in here))
    return Problem(
        found.title,
        f"the roles of {identity.title} there do not allow {sanitize(found.action)}: {held}",
        _assign(found, identity),
    )


def _assign(found: ResourceFacts, identity: DirectoryIdentity) -> str:
    scope = shlex.quote(sanitize(found.resource_id))
    assignee = (
        f"--assignee-object-id {identity.principal_id} --assignee-principal-type ServicePrincipal"
    )
    role = _choose_role(found)
    if role:
        return f"az role assignment create --role {shlex.quote(role)} --scope {scope} {assignee}"
    return (
        f'`az role definition list --scope {scope} --query "[].roleName"` lists the roles, then:'
        f" az role assignment create --role ROLE --scope {scope} {assignee}"
    )


def _choose_role(found: ResourceFacts) -> str:
    """Return the least role of a vault for the action, without one for reading secrets; empty if unknown."""
    action = found.action or (roles.GET_SECRET if found.is_vault else "")
    allowed = (
        each.name
        for each in VAULT_ROLES
        if roles.allows(each, action, data=found.is_data or not found.action)
    )
    return next(allowed, "") if found.is_vault else ""


@RESOURCE.check(
    "access-policy-missing",
    "an access policy of the vault lets the identity read secrets",
    optional=True,
)
def _check_policy(facts: Facts) -> Problem | None:
    found, identity = _existing(facts), require_identity(facts)
    if found.uses_roles or found.action != roles.GET_SECRET:
        return None
    own = identity.principal_id.lower()
    if any(each.object_id == own and _permits(each.secrets) for each in found.policies):
        return None
    message = (
        f"it authorizes callers by access policies, and none lets {identity.title} read secrets"
    )
    wrong = {identity.client_id.lower(), str(identity.application_id).lower()}
    if any(each.object_id in wrong for each in found.policies):
        message += "; one names its client id or application in place of its principal"
    return Problem(
        found.title,
        message,
        f"az keyvault set-policy --name {found.title.rpartition(' ')[2]}"
        f" --object-id {identity.principal_id} --secret-permissions get",
    )


def _permits(permissions: Sequence[str]) -> bool:
    return "get" in permissions or "all" in permissions


CHECKS = (*ISSUER, *DIRECTORY, *EXCHANGE, *RESOURCE)
