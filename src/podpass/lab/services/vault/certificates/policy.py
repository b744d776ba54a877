"""The policy of a certificate: what its next version contains and when it is renewed. Pure.

Source: https://learn.microsoft.com/rest/api/keyvault/certificates/create-certificate
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from podpass.lab.services.vault.certificates.members import (
    as_list,
    as_object,
    choice,
    flag,
    number,
    section,
    text,
    texts,
)
from podpass.lab.services.vault.certificates.names import (
    parse_alternatives,
    parse_subject,
    parse_usages,
)
from podpass.lab.services.vault.errors import BadParameter
from podpass.lab.services.vault.key_types import CURVES, EC, KEY_SIZES, RSA

SELF, UNKNOWN = "Self", "Unknown"
PKCS12, PEM = "application/x-pkcs12", "application/x-pem-file"
AUTO_RENEW, EMAIL_CONTACTS = "AutoRenew", "EmailContacts"

# Key usages, with the names that `cryptography` has for them.
KEY_USAGES: Mapping[str, str] = {
    "digitalSignature": "digital_signature",
    "nonRepudiation": "content_commitment",
    "keyEncipherment": "key_encipherment",
    "dataEncipherment": "data_encipherment",
    "keyAgreement": "key_agreement",
    "keyCertSign": "key_cert_sign",
    "cRLSign": "crl_sign",
    "encipherOnly": "encipher_only",
    "decipherOnly": "decipher_only",
}
# X.509 defines these for key agreement only.
AGREEMENT_USAGES = ("encipherOnly", "decipherOnly")
SAN_MEMBERS = ("dns_names", "emails", "upns", "uris", "ipAddresses")

# Bounds of podpass, so that a policy stays small; Azure's are not documented.
MAX_SUBJECT = 2048
MAX_SANS = 250
MAX_SAN_CHARS = 255
MAX_EKUS = 50
MAX_ACTIONS = 8
MAX_MONTHS = 1200
# A month counts as this many days in the limit of `days_before_expiry`.
_DAYS_OF_MONTH = 27
_ISSUER = re.compile(r"[0-9a-zA-Z-]{1,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyProperties:
    """The key of the next version; `size` is set for RSA and `curve` for EC."""

    kty: str = RSA
    size: int | None = 2048
    curve: str | None = None
    exportable: bool = True
    reuse: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LifetimeAction:
    """An action, and its trigger: a percentage of the lifetime or the days before the expiry."""

    action: str
    percentage: int | None = None
    days: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the next version of a certificate contains, and the actions before it expires.

    `sans` has lists by the members of `SAN_MEMBERS`. `ca` is the basic constraint.
    """

    key: KeyProperties = KeyProperties()
    content_type: str = PKCS12
    subject: str = ""
    sans: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ekus: tuple[str, ...] = ("1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2")
    key_usage: tuple[str, ...] = ("digitalSignature", "keyEncipherment")
    months: int = 12
    ca: bool = False
    actions: tuple[LifetimeAction, ...] = ()
    issuer: str = UNKNOWN
    certificate_type: str | None = None
    transparency: bool | None = None

    @property
    def is_merged(self) -> bool:
        """Return whether the caller brings the certificate: no issuer of the vault signs it."""
        return self.issuer == UNKNOWN


def parse(given: object, base: Policy | None = None) -> Policy:
    """Parse a policy; `base` has the values of members that are absent, by default those of Azure.

    Raises BadParameter.
    """
    policy = _parse_sections(as_object(given, "policy"), base or Policy())
    if not policy.actions:
        policy = replace(policy, actions=(default_action(policy.issuer),))
    if not policy.subject and not any(policy.sans.values()):
        raise BadParameter("The policy must have x509_props.subject or x509_props.sans.")
    # A restored subject can be invalid here. It stays until a request changes it.
    if policy.subject != (base or Policy()).subject:
        parse_subject(policy.subject)
    parse_alternatives(policy.sans)
    parse_usages(policy.ekus)
    _check_actions(policy)
    return policy


def check_derived(policy: Policy) -> Policy:
    """Return the policy of an imported certificate, if it is within the bounds of a policy.

    Raises BadParameter.
    """
    return from_json(to_json(policy))


def from_json(stored: Mapping[str, Any]) -> Policy:
    """Return a policy from its JSON in the store."""
    return _parse_sections(stored, Policy())


def default_action(issuer: str) -> LifetimeAction:
    """Return the action of a policy that has none: without an issuer, a renewal is impossible."""
    action = EMAIL_CONTACTS if issuer == UNKNOWN else AUTO_RENEW
    return LifetimeAction(action=action, percentage=80)


def _parse_sections(given: Mapping[str, Any], base: Policy) -> Policy:
    fields: dict[str, Any] = {}
    if key := section(given, "key_props"):
        fields["key"] = _parse_key(key, base.key)
    if secret := section(given, "secret_props"):
        fields["content_type"] = choice(secret, "contentType", (PKCS12, PEM), base.content_type)
    if x509 := section(given, "x509_props"):
        fields |= _parse_x509(x509, base)
    if issuer := section(given, "issuer"):
        fields |= _parse_issuer(issuer, base)
    if given.get("lifetime_actions") is not None:
        actions = as_list(given["lifetime_actions"], "lifetime_actions", MAX_ACTIONS)
        fields["actions"] = tuple(_parse_action(each) for each in actions)
    return replace(base, **fields)


def _parse_key(given: Mapping[str, Any], base: KeyProperties) -> KeyProperties:
    kty = text(given, "kty", base.kty).upper()
    if kty.endswith("-HSM"):
        raise BadParameter(f"Keys of type {kty} need a vault of the SKU premium; use RSA or EC.")
    if kty not in (RSA, EC):
        raise BadParameter("key_props.kty must be RSA or EC.")
    size, curve = given.get("key_size"), given.get("crv")
    if kty == RSA:
        size = size if size is not None else base.size if base.kty == RSA else 2048
        if type(size) is not int or size not in KEY_SIZES:
            raise BadParameter("key_props.key_size of an RSA key must be 2048, 3072 or 4096.")
        curve = None
    else:
        curve = curve if curve is not None else base.curve if base.kty == EC else "P-256"
        if curve not in tuple(CURVES):
            raise BadParameter(f"key_props.crv must be one of {', '.join(CURVES)}.")
        size = None
    return KeyProperties(
        kty=kty,
        size=size,
        curve=curve,
        exportable=flag(given, "exportable", base.exportable),
        reuse=flag(given, "reuse_key", base.reuse),
    )


def _parse_x509(given: Mapping[str, Any], base: Policy) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if given.get("subject") is not None:
        fields["subject"] = text(given, "subject", "", MAX_SUBJECT)
    if given.get("sans") is not None:
        fields["sans"] = _parse_sans(as_object(given["sans"], "sans"))
    if given.get("ekus") is not None:
        found = texts(given["ekus"], "ekus", MAX_EKUS)
        fields["ekus"] = tuple(dict.fromkeys(found))
    if given.get("key_usage") is not None:
        found = texts(given["key_usage"], "key_usage", len(KEY_USAGES))
        if unknown := [each for each in found if each not in KEY_USAGES]:
            raise BadParameter(f"{unknown[0]!r} in x509_props.key_usage is not a key usage.")
        fields["key_usage"] = tuple(dict.fromkeys(found))
    if given.get("validity_months") is not None:
        fields["months"] = number(given, "validity_months", range(1, MAX_MONTHS + 1))
    if constraints := section(given, "basic_constraints"):
        fields["ca"] = flag(constraints, "ca", base.ca)
    return fields


def _parse_sans(given: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    # The SDKs send `ipAddresses`, the documentation writes `ip_addresses`.
    given = {
        ("ipAddresses" if key == "ip_addresses" else key): value for key, value in given.items()
    }
    found = {
        name: tuple(texts(given[name], name, MAX_SANS, MAX_SAN_CHARS))
        for name in SAN_MEMBERS
        if given.get(name) is not None
    }
    if sum(map(len, found.values())) > MAX_SANS:
        raise BadParameter(f"x509_props.sans has more than {MAX_SANS} names.")
    for address in found.get("ipAddresses", ()):
        try:
            ipaddress.ip_address(address)
        except ValueError as exc:
            raise BadParameter(f"{address!r} in sans.ipAddresses is not an IP address.") from exc
    return found


def _parse_action(given: object) -> LifetimeAction:
    action = as_object(given, "lifetime_actions")
    trigger, what = section(action, "trigger"), section(action, "action")
    kind = choice(what, "action_type", (AUTO_RENEW, EMAIL_CONTACTS), "")
    percentage, days = trigger.get("lifetime_percentage"), trigger.get("days_before_expiry")
    if not kind or (percentage is None) == (days is None):
        raise BadParameter(
            "A lifetime action needs an action_type, and lifetime_percentage or days_before_expiry."
        )
    if percentage is not None:
        percentage = number(trigger, "lifetime_percentage", range(1, 100))
    else:
        days = number(trigger, "days_before_expiry", range(1, MAX_MONTHS * _DAYS_OF_MONTH + 1))
    return LifetimeAction(action=kind, percentage=percentage, days=days)


def _check_actions(policy: Policy) -> None:
    limit = policy.months * _DAYS_OF_MONTH
    for each in policy.actions:
        if each.days is not None and each.days > limit:
            raise BadParameter(f"days_before_expiry must be at most {limit}, 27 for each month.")
        if each.action == AUTO_RENEW and policy.is_merged:
            raise BadParameter(
                "The action AutoRenew needs an issuer that signs; use EmailContacts or an issuer."
            )


def _parse_issuer(given: Mapping[str, Any], base: Policy) -> dict[str, Any]:
    name = text(given, "name", base.issuer)
    # The two reserved names are compared without case.
    name = {each.lower(): each for each in (SELF, UNKNOWN)}.get(name.lower(), name)
    if not _ISSUER.fullmatch(name):
        raise BadParameter("The name of an issuer is 1 to 127 letters, digits and '-'.")
    fields: dict[str, Any] = {"issuer": name}
    if given.get("cty") is not None:
        fields["certificate_type"] = text(given, "cty", "")
    if given.get("cert_transparency") is not None:
        fields["transparency"] = flag(given, "cert_transparency", False)
    # Another issuer may not renew, so the actions become the default ones unless the request has some.
    if name != base.issuer:
        fields["actions"] = ()
    return fields


def to_json(policy: Policy) -> dict[str, Any]:
    """Return a policy as JSON, without its ID and attributes."""
    key: dict[str, Any] = {"exportable": policy.key.exportable, "kty": policy.key.kty}
    if policy.key.curve is not None:
        key |= {"crv": policy.key.curve, "key_size": CURVES[policy.key.curve].key_size}
    else:
        key["key_size"] = policy.key.size
    issuer: dict[str, Any] = {"name": policy.issuer}
    if policy.certificate_type is not None:
        issuer["cty"] = policy.certificate_type
    if policy.transparency is not None:
        issuer["cert_transparency"] = policy.transparency
    return {
        "key_props": {**key, "reuse_key": policy.key.reuse},
        "secret_props": {"contentType": policy.content_type},
        "x509_props": {
            "subject": policy.subject,
            "sans": {name: list(values) for name, values in policy.sans.items()},
            "ekus": list(policy.ekus),
            "key_usage": list(policy.key_usage),
            "validity_months": policy.months,
            "basic_constraints": {"ca": policy.ca},
        },
        "lifetime_actions": [_action_to_json(each) for each in policy.actions],
        "issuer": issuer,
    }


def _action_to_json(action: LifetimeAction) -> dict[str, Any]:
    trigger = (
        {"days_before_expiry": action.days}
        if action.percentage is None
        else {"lifetime_percentage": action.percentage}
    )
    return {"trigger": trigger, "action": {"action_type": action.action}}
