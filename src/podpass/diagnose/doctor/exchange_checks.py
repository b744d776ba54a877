"""The checks of the stage exchange: authority, tenant, times of the token, and the exchange itself. Pure."""

from collections.abc import Callable
from urllib.parse import urlsplit

from podpass import names
from podpass.clouds import CLOUDS, find_cloud
from podpass.diagnose.doctor import credential_difference, fixes
from podpass.diagnose.doctor.directory_checks import read_presented
from podpass.diagnose.doctor.issuer_checks import find_token
from podpass.diagnose.doctor.model import (
    AuthorityFacts,
    DoctorCheck,
    Facts,
    PodToken,
    Problem,
    Stage,
)
from podpass.exchange.errors.explain import find_explanation
from podpass.facts import FactUnread, Unread, known
from podpass.provision.errors import sanitize

# Entra accepts a lifetime of 25 hours, and clocks that differ by five minutes.
_MAX_LIFETIME = 25 * 3600
_MAX_SKEW = 300
# No credential matched. With a credential that matches, it is not visible to the token service yet.
_NO_MATCH = frozenset({70021, 70025, 700211, 700212, 700213, 7002131, 7002138})


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


def _check_tenant_exists(facts: Facts) -> Problem | None:
    authority = known(facts.cloud.authority)
    if authority.tenant_id:
        return None
    return Problem(
        _tenant_title(facts), "the token service knows no such tenant", _fix_tenant(facts)
    )


def _check_same_tenant(facts: Facts) -> Problem | None:
    authority, own = known(facts.cloud.authority), known(facts.cloud.tenant_id)
    identity = known(facts.cloud.identity)
    if not authority.tenant_id or authority.tenant_id == own.lower() or identity is None:
        return None
    if not identity.is_managed and identity.owner_tenant.lower() not in ("", own.lower()):
        return None  # an application of several tenants may be used in another one
    return Problem(
        _tenant_title(facts),
        f"the {identity.title} is in the tenant {own}, so this tenant issues no token for it",
        _fix_tenant(facts),
    )


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


def _check_propagation(facts: Facts) -> Problem | None:
    exchange = known(facts.cloud.exchange)
    if exchange.number not in _NO_MATCH:
        return None
    credentials, presented = known(facts.cloud.credentials), read_presented(facts)
    match = next(
        (each for each in credentials if credential_difference.matches(each, presented)), None
    )
    if match is None:
        return None
    return Problem(
        f"federated credential {sanitize(match.name)}",
        f"it matches the token letter by letter, and the token service does not find it yet"
        f" (AADSTS{exchange.number}): a new credential takes effect after seconds to minutes",
        "wait, then run `podpass doctor` again; pods repeat the exchange by themselves",
    )


def _check_exchange(facts: Facts) -> Problem | None:
    exchange = known(facts.cloud.exchange)
    if exchange.status == 200:
        return None
    if exchange.number in _NO_MATCH and not isinstance(facts.cloud.credentials, Unread):
        return None  # the checks of the credentials name the cause
    explained = find_explanation(exchange.number) if exchange.number else None
    return Problem(
        f"exchange of {facts.cluster.subject}",
        f"the token service refused the token: {exchange.message or f'status {exchange.status}'}",
        explained.resolution if explained else "run `podpass explain` with this message",
    )


# What needs a token or an exchange: without the right to request one, that is no fault of the workload.
_OPTIONAL = frozenset(
    {"token-lives-too-long", "token-not-yet-valid", "credential-not-visible", "exchange-refused"}
)


def _row(name: str, meaning: str, run: Callable[[Facts], Problem | None]) -> DoctorCheck:
    return DoctorCheck(name, Stage.EXCHANGE, meaning, run, optional=name in _OPTIONAL)


CHECKS: tuple[DoctorCheck, ...] = (
    _row(
        "authority-of-other-cloud",
        "the authority of the pod is that of the identity's cloud",
        _check_authority,
    ),
    _row("tenant-unknown", "the token service knows the tenant", _check_tenant_exists),
    _row(
        "tenant-of-other-identity",
        "the tenant of the pod is that of the identity",
        _check_same_tenant,
    ),
    _row(
        "audience-of-other-cloud",
        "the audience of the token is that of the cloud",
        _check_cloud_audience,
    ),
    _row("token-lives-too-long", "the token lives at most 25 hours", _check_lifetime),
    _row("token-not-yet-valid", "the clock of the API server is not ahead", _check_not_future),
    _row(
        "credential-not-visible", "the token service has the credential already", _check_propagation
    ),
    _row(
        "exchange-refused",
        "the token service accepts a token of the ServiceAccount",
        _check_exchange,
    ),
)
