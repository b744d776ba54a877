"""Select the part of the trust graph around an identity or a namespace. Pure."""

from collections.abc import Sequence
from difflib import get_close_matches

from podpass.diagnose.graph.edges import CredentialMatch
from podpass.diagnose.graph.model import AccountFacts, TrustFacts
from podpass.directory.model import Identity
from podpass.errors import UsageError

_IDENTITY, _NAMESPACE = "identity", "namespace"


def select(
    facts: TrustFacts, matches: Sequence[CredentialMatch], focus: str
) -> tuple[list[Identity], list[AccountFacts]]:
    """Return the identities and accounts to show.

    Without a focus, these are all identities, and the accounts that have an annotation or that a credential
    names. The part around an identity has the identities that it can become or that can become it. The part
    around a namespace has the identities that its accounts name or can become, and all their accounts.

    Raises UsageError for a name that is neither an identity nor a namespace, or both.
    """
    accounts = facts.cluster.accounts or ()
    if not focus:
        named = {each.owner.key for each in matches if isinstance(each.owner, AccountFacts)}
        shown = [each for each in accounts if each.client_id is not None or each.key in named]
        return list(facts.directory.identities), shown
    kind, name = _resolve(facts, focus)
    if kind == _IDENTITY:
        start = {each.client_id for each in _named(facts, name)}
        chosen = _connected(start, matches, backwards=True) | _connected(start, matches)
        return _with_accounts(facts, matches, chosen, frozenset())
    inside = {each.key for each in accounts if each.namespace == name}
    start = {
        each.identity.client_id
        for each in matches
        if isinstance(each.owner, AccountFacts) and each.owner.key in inside
    }
    start |= {each.client_id.lower() for each in accounts if each.key in inside and each.client_id}
    prefix = f"system:serviceaccount:{name}:"
    start |= {
        identity.client_id
        for identity in facts.directory.identities
        if any(
            each.issuer == facts.cluster.issuer and each.subject.startswith(prefix)
            for each in identity.credentials
        )
    }
    return _with_accounts(facts, matches, _connected(start, matches), frozenset(inside))


def _with_accounts(
    facts: TrustFacts, matches: Sequence[CredentialMatch], chosen: set[str], inside: frozenset[str]
) -> tuple[list[Identity], list[AccountFacts]]:
    named = {
        each.owner.key
        for each in matches
        if isinstance(each.owner, AccountFacts) and each.identity.client_id in chosen
    }
    accounts = [
        each
        for each in facts.cluster.accounts or ()
        if each.key in named
        or (each.client_id or "").lower() in chosen
        or (each.key in inside and each.client_id is not None)
    ]
    return [each for each in facts.directory.identities if each.client_id in chosen], accounts


def _connected(
    start: set[str], matches: Sequence[CredentialMatch], *, backwards: bool = False
) -> set[str]:
    """Return the client ids that can be reached from some identities by tokens of managed identities."""
    steps: dict[str, list[str]] = {}
    for each in matches:
        if isinstance(each.owner, Identity):
            source, target = each.owner.client_id, each.identity.client_id
            if backwards:
                source, target = target, source
            steps.setdefault(source, []).append(target)
    found, waiting = set(start), list(start)
    while waiting:
        for following in steps.get(waiting.pop(), ()):
            if following not in found:
                found.add(following)
                waiting.append(following)
    return found


def _named(facts: TrustFacts, name: str) -> list[Identity]:
    return [
        each
        for each in facts.directory.identities
        if each.name == name or each.client_id == name.lower()
    ]


def _resolve(facts: TrustFacts, focus: str) -> tuple[str, str]:
    kind, slash, rest = focus.partition("/")
    if not slash:
        kind, rest = "", focus
    elif kind not in (_IDENTITY, _NAMESPACE):
        raise UsageError(
            f"{focus[:100]!r} is neither identity/NAME nor namespace/NAME",
            hint="pass the name or client id of an identity, or the name of a namespace",
        )
    namespaces = sorted({each.namespace for each in facts.cluster.accounts or ()})
    is_identity, is_namespace = bool(_named(facts, rest)), rest in namespaces
    if kind:
        is_identity, is_namespace = (
            is_identity and kind == _IDENTITY,
            is_namespace and kind == _NAMESPACE,
        )
    if is_identity and is_namespace:
        raise UsageError(
            f"{rest} is the name of an identity and of a namespace",
            hint=f"pass identity/{rest} or namespace/{rest}",
        )
    if not is_identity and not is_namespace:
        known = [*(each.name for each in facts.directory.identities), *namespaces]
        near = get_close_matches(rest, known, n=3)
        proposal = f"did you mean {' or '.join(near)}? " if near else ""
        raise UsageError(
            f"{rest[:100]!r} is the name of no identity and of no namespace with ServiceAccounts",
            hint=f"{proposal}without a name, `podpass graph` prints all",
        )
    return (_IDENTITY if is_identity else _NAMESPACE), rest
