"""Adapt the guard to the directory's APIs: convert callers and errors to those of the APIs. Pure."""

from collections.abc import Sequence

from podpass.directory.access import Admit, Caller, NotAdmitted, Reason
from podpass.resource.guard import Check, Guard, KeysUnavailable, Principal, TokenRefused

_REASONS = {
    Check.MISSING: Reason.MISSING,
    Check.EXPIRED: Reason.EXPIRED,
    Check.AUDIENCE: Reason.AUDIENCE,
    Check.TENANT: Reason.TENANT,
    # The issuer contains the tenant, so a token of another tenant fails this check first.
    Check.ISSUER: Reason.TENANT,
}


def admit_with(guard: Guard) -> Admit:
    """Return the `Admit` function of a guard, for Graph and Resource Manager."""

    async def admit(authorization: Sequence[str]) -> Caller:
        try:
            return _caller(await guard.admit(authorization))
        except TokenRefused as exc:
            reason = _REASONS.get(exc.check, Reason.INVALID)
            facts = {name: value for name, value in exc.facts.items() if name != "reason"}
            raise NotAdmitted(exc.message, reason=reason, **facts) from exc
        except KeysUnavailable as exc:
            raise NotAdmitted(exc.message, reason=Reason.UNAVAILABLE) from exc

    return admit


def _caller(principal: Principal) -> Caller:
    return Caller(
        object_id=principal.object_id,
        app_id=principal.app_id,
        tenant_id=principal.tenant_id,
        name=principal.name or principal.app_id,
        is_user=principal.is_user,
        roles=principal.roles,
        scopes=principal.scopes,
        wids=principal.wids,
        token_id=str(principal.claims.get("uti") or ""),
    )
