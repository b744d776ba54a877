"""A random directory with accounts, and every exchange and every access tried in it by the real decisions."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kubeling.service_account.claims import ObjectRef, make_claims

from podpass import names
from podpass.crypto import jose
from podpass.database import Database
from podpass.diagnose.graph.edges import OPERATIONS
from podpass.diagnose.graph.model import (
    AccountFacts,
    ClusterAccounts,
    DirectorySnapshot,
    TrustFacts,
)
from podpass.directory import resource_ids, roles
from podpass.directory.model import (
    AccessPolicy,
    FederatedCredential,
    Identity,
    IdentityKind,
    RoleAssignment,
    RoleDefinition,
    Tenant,
)
from podpass.directory.resources import EXCHANGE_APP_ID
from podpass.directory.store.directory import Directory
from podpass.exchange.access_token import Exchange, build_claims
from podpass.exchange.client_auth.authenticator import (
    Acr,
    ClientAuthentication,
    ClientAuthenticator,
)
from podpass.exchange.client_credentials import ClientCredentialsVerifier
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.signing.key import AuthorityKey, generate_key
from podpass.exchange.token_request import TokenRequest
from podpass.lab.services import create_directory
from podpass.lab.services.vault import model as vault_model
from podpass.lab.services.vault.authorization import authorize
from podpass.lab.services.vault.errors import Forbidden, ForbiddenByPolicy
from podpass.lab.services.vault.model import Vault, VaultAccess, vault_id
from podpass.lab.services.vault.vaults import Vaults, to_resource
from podpass.resource.checks import Principal
from podpass.settings import AuthoritySettings
from tests.rsa_keys import KEY

NOW = 1_750_000_000.0
TENANT = "11111111-1111-4111-8111-111111111111"
SUBSCRIPTION = "99999999-9999-4999-8999-999999999999"
ORIGIN = f"https://{names.LOGIN_HOST}"
ISSUER = "https://oic.example/cluster/"
ISSUERS = (ISSUER, ISSUER.rstrip("/"), "https://oic.example/Cluster/")
OTHER_AUDIENCE = "api://other"
AUDIENCES = (names.EXCHANGE_AUDIENCE, names.EXCHANGE_AUDIENCE.lower(), OTHER_AUDIENCE)
ACCOUNTS = tuple(
    AccountFacts(namespace=namespace, name=name)
    for namespace, name in (("a", "web"), ("a", "api"), ("b", "web"), ("b", "job"))
)
SECRETS = ("", "one", "two")
_AUTHORITY_KEY: list[AuthorityKey] = []


@dataclass(kw_only=True)
class RandomDirectory:
    """The directory, and what was put into it."""

    directory: Directory
    identities: Sequence[Identity] = ()
    vaults: Sequence[Vault] = ()
    verifier: ClientCredentialsVerifier = field(init=False)
    key: AuthorityKey = field(init=False)

    def __post_init__(self) -> None:
        if not _AUTHORITY_KEY:
            _AUTHORITY_KEY.append(generate_key(NOW))
        self.key = _AUTHORITY_KEY[0]
        settings = AuthoritySettings(origins=(ORIGIN,))
        authenticator = ClientAuthenticator(
            self.directory,
            _KnownIssuers(),  # type: ignore[arg-type]
            _Published(self.key),
            settings,
            lambda: NOW,
        )
        self.verifier = ClientCredentialsVerifier(self.directory, authenticator)

    @property
    def cluster(self) -> ClusterAccounts:
        return ClusterAccounts(issuer=ISSUER, accounts=ACCOUNTS)

    async def exchange(self, assertion: str, client_id: str, resource: str) -> str | None:
        """Return the access token of an exchange; None if it is refused."""
        form = {
            "grant_type": names.CLIENT_CREDENTIALS,
            "client_id": client_id,
            "client_assertion_type": names.JWT_BEARER,
            "client_assertion": assertion,
            "scope": f"{resource}/.default",
        }
        request = TokenRequest(tenant=TENANT, version=2, origin=ORIGIN, form=form)
        try:
            exchange = await self.verifier.check(request)
        except AadstsError:
            return None
        claims = build_claims(exchange, now=NOW, seconds=3600, uti="u")
        return self.key.signing.sign(claims)

    async def become_directly(self, assertion: str) -> set[str]:
        """Return the client ids for which an assertion is accepted."""
        found = set()
        for identity in self.identities:
            if await self.exchange(assertion, identity.client_id, "https://vault.azure.net"):
                found.add(identity.client_id)
        return found

    async def tokens_of(self, assertion: str) -> dict[str, str]:
        """Return the tokens for further exchanges that an assertion gives, by client id."""
        found = {}
        for identity in self.identities:
            token = await self.exchange(assertion, identity.client_id, EXCHANGE_APP_ID)
            if token:
                found[identity.client_id] = token
        return found

    async def earlier_token(self, identity: Identity) -> str:
        """Return a token for further exchanges that an identity got before it was disabled."""
        resource = await self.directory.find_resource(TENANT, EXCHANGE_APP_ID)
        assert resource is not None
        exchange = Exchange(
            tenant=Tenant(id=TENANT),
            identity=identity,
            client_auth=ClientAuthentication(acr=Acr.ASSERTION),
            resource=resource,
            requested=EXCHANGE_APP_ID,
            origin=ORIGIN,
        )
        return self.key.signing.sign(build_claims(exchange, now=NOW, seconds=3600, uti="u"))

    async def may(self, identity: Identity, vault: Vault, operation: str, secret: str) -> bool:
        """Try an operation on a vault as an identity that has a token."""
        principal = Principal(
            app_id=identity.client_id, object_id=identity.object_id, tenant_id=TENANT
        )
        try:
            await authorize(
                self.directory,
                principal,
                vault,
                action=OPERATIONS[operation],
                permission=operation,
                kind=vault_model.SECRETS,
                name=secret,
            )
        except (Forbidden, ForbiddenByPolicy):
            return False
        return True


class _KnownIssuers:
    """The keys of every issuer: each signs with the same key, so that only the match decides."""

    async def find_keys(self, issuer: str, key_id: str) -> Sequence[jose.PublicKey]:
        del issuer
        public = jose.PublicKey(kid=key_id, algs=frozenset({"RS256"}), key=KEY.public_key())
        return (public,)


class _Published:
    def __init__(self, key: AuthorityKey) -> None:
        self.published = (key,)


def assertion_of(account: AccountFacts, audience: str) -> str:
    """Sign the token that the cluster projects for an account."""
    claims = make_claims(
        issuer=ISSUER,
        namespace=account.namespace,
        account=ObjectRef(name=account.name, uid="u"),
        audiences=[audience],
        seconds=3600,
        now=NOW,
        jti="j",
    )
    return jose.SigningKey(kid="k", key=KEY).sign(claims)


@dataclass(frozen=True, kw_only=True)
class Generated:
    """The objects of a random directory."""

    identities: Sequence[Identity]
    vaults: Sequence[Vault]
    custom: RoleDefinition
    assignments: Sequence[RoleAssignment]

    @property
    def facts(self) -> TrustFacts:
        """Return the facts that a directory with these objects has."""
        return TrustFacts(
            cluster=ClusterAccounts(issuer=ISSUER, accounts=ACCOUNTS),
            directory=DirectorySnapshot(
                tenant_id=TENANT,
                issuers=(f"{ORIGIN}/{TENANT}/v2.0",),
                identities=tuple(self.identities),
                assignments=tuple(self.assignments),
                roles=(*roles.BUILT_IN, self.custom),
                resources=tuple(to_resource(each) for each in self.vaults),
            ),
        )


def generate(seed: int) -> Generated:
    """Return the objects of a seed."""
    chance = random.Random(seed)
    identities = _make_identities(chance)
    vaults = [_make_vault(chance, at, identities) for at in range(3)]
    custom = RoleDefinition(
        id=_guid(chance),
        name="Everything but purge",
        data_actions=(f"{roles.SECRETS}/*",),
        not_data_actions=(roles.PURGE_SECRET,),
        scopes=("/",),
        built_in=False,
    )
    assignments = _make_assignments(chance, identities, vaults, custom)
    return Generated(identities=identities, vaults=vaults, custom=custom, assignments=assignments)


async def make(seed: int, folder: Path) -> RandomDirectory:
    """Create the directory of a seed; the caller closes it."""
    generated = generate(seed)
    directory = create_directory(Database(f"sqlite:///{folder / f'{seed}.db'}"))
    await directory.open()
    await directory.create_tenant(Tenant(id=TENANT))
    for identity in generated.identities:
        await directory.identities.put(identity)
    for vault in generated.vaults:
        await directory.store(Vaults).put(vault)
    await directory.role_definitions.put(generated.custom)
    for assignment in generated.assignments:
        await directory.assign_role(assignment)
    return RandomDirectory(
        directory=directory, identities=generated.identities, vaults=generated.vaults
    )


def _guid(chance: random.Random) -> str:
    text = f"{chance.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-8{text[17:20]}-{text[20:]}"


def _make_identities(chance: random.Random) -> list[Identity]:
    made: list[Identity] = []
    for at in range(6):
        is_managed = at < 3
        name = f"{'managed' if is_managed else 'app'}{at}"
        made.append(
            Identity(
                tenant_id=TENANT,
                client_id=_guid(chance),
                object_id=_guid(chance),
                name=name,
                kind=IdentityKind.MANAGED_IDENTITY if is_managed else IdentityKind.APPLICATION,
                resource_id=resource_ids.identity_id(SUBSCRIPTION, "g1", name)
                if is_managed
                else None,
                application_id=None if is_managed else _guid(chance),
                has_principal=is_managed or chance.random() < 0.7,
                enabled=chance.random() < 0.7,
                credentials=_make_credentials(chance, made),
            )
        )
    return made


def _make_credentials(
    chance: random.Random, earlier: Sequence[Identity]
) -> tuple[FederatedCredential, ...]:
    found: dict[tuple[str, str], FederatedCredential] = {}
    for at in range(chance.randrange(9)):
        account = chance.choice(ACCOUNTS)
        subject = f"system:serviceaccount:{account.namespace}:{account.name}"
        subject = chance.choice([*[subject] * 4, subject.upper(), subject + "x"])
        issuer, audience = (
            chance.choice((ISSUER, ISSUER, *ISSUERS)),
            chance.choice((AUDIENCES[0], *AUDIENCES)),
        )
        if earlier and chance.random() < 0.6:
            issuer = f"{ORIGIN}/{TENANT}/v2.0"
            subject = chance.choice(earlier).object_id
            audience = chance.choice((*AUDIENCES, EXCHANGE_APP_ID))
        found[issuer, subject] = FederatedCredential(
            name=f"credential-{at}", issuer=issuer, subject=subject, audiences=(audience,)
        )
    return tuple(found.values())


def _make_vault(chance: random.Random, at: int, identities: Sequence[Identity]) -> Vault:
    policies = {
        identity.object_id: AccessPolicy(
            object_id=identity.object_id,
            tenant_id=chance.choice((TENANT, TENANT, TENANT.replace("1", "2"))),
            application_id=chance.choice((None, None, identity.client_id, _guid(chance))),
            secrets=tuple(chance.sample([*OPERATIONS, "all"], chance.randrange(4))),
        )
        for identity in chance.sample(list(identities), 4)
    }
    return Vault(
        name=f"vault{at}",
        tenant_id=TENANT,
        location="westeurope",
        resource_id=vault_id(SUBSCRIPTION, chance.choice(("g1", "G1x")), f"vault{at}"),
        access=chance.choice((VaultAccess.ROLES, VaultAccess.POLICIES)),
        policies=tuple(policies.values()),
    )


def _make_assignments(
    chance: random.Random,
    identities: Sequence[Identity],
    vaults: Sequence[Vault],
    custom: RoleDefinition,
) -> list[RoleAssignment]:
    known = [each.id for each in roles.BUILT_IN if "Vault" in each.name or each.name == "Owner"]
    scopes = ["/", f"/subscriptions/{SUBSCRIPTION}", "/subscriptions/other"]
    scopes += [resource_ids.group_id(SUBSCRIPTION, each) for each in ("g1", "G1X", "g")]
    for vault in vaults:
        scopes += [vault.resource_id, vault.resource_id.upper(), vault.resource_id[:-1]]
        scopes += [f"{vault.resource_id}/secrets/{secret}" for secret in ("one", "ONE")]
    return [
        RoleAssignment(
            scope=chance.choice(scopes),
            principal_id=chance.choice(identities).object_id,
            role=chance.choice([*known, custom.id]),
        )
        for _ in range(chance.randrange(3, 12))
    ]
