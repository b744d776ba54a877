"""App roles in tokens, applications that require assignment, and the delay of new credentials."""

from dataclasses import replace

from podpass.directory import builtin_principals
from podpass.directory.model import AppRoleAssignment
from podpass.directory.resources import GRAPH_APP_ID
from podpass.exchange import client_credentials
from tests.exchange.client_auth.test_secrets import add_credentials, request_with_secret
from tests.exchange.world import Start, World

ROLE = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
DEFAULT_ACCESS = "00000000-0000-0000-0000-000000000000"


async def add_app_role(world: World, *, required: bool = False) -> str:
    """Add an app role to the application, which may require assignment."""
    role = {"id": ROLE, "value": "Things.Read.All", "isEnabled": True}
    principal = {"appRoleAssignmentRequired": True} if required else {}
    await world.change(world.APPLICATION, document={"appRoles": [role]}, principal=principal)
    return f"api://{world.APPLICATION}/.default"


async def assign_app_role(
    world: World, role: str, resource: str | None = None, principal: str | None = None
) -> None:
    application = await world.directory.find_identity(world.TENANT, world.APPLICATION)
    assert application is not None
    await world.directory.app_roles.put(
        AppRoleAssignment(
            id="",
            principal_id=principal or world.OBJECT,
            principal_type="ServicePrincipal",
            resource_id=resource or application.object_id,
            app_role_id=role,
        )
    )


async def test_graph_token_contains_the_graph_permission(world: World) -> None:
    role, value = next(iter(builtin_principals.GRAPH_ROLES.items()))
    await assign_app_role(
        world, role, resource=builtin_principals.object_id(world.TENANT, GRAPH_APP_ID)
    )
    answer = await world.request_token(scope="https://graph.microsoft.com/.default")
    assert answer.claims()["roles"] == [value]


async def test_only_graph_has_app_roles_among_built_in_resources(world: World) -> None:
    """Fails if another built-in resource has app roles: its assignments are not looked up."""
    for principal in builtin_principals.list_principals(world.TENANT):
        has_roles = principal["appId"] not in client_credentials._WITHOUT_ROLES
        assert bool(principal["appRoles"]) is has_roles


async def test_roles_are_only_in_tokens_for_their_resource(world: World) -> None:
    scope = await add_app_role(world)
    assert "roles" not in (await world.request_token(scope=scope)).claims()
    await assign_app_role(world, ROLE)
    assert (await world.request_token(scope=scope)).claims()["roles"] == ["Things.Read.All"]
    assert "roles" not in (await world.request_token()).claims()


async def test_application_that_requires_assignment_refuses_other_clients(world: World) -> None:
    scope = await add_app_role(world, required=True)
    answer = await world.request_token(scope=scope)
    assert (answer.code, answer.body["error"]) == (501051, "invalid_grant")
    await assign_app_role(world, ROLE, resource=world.OBJECT)
    assert (await world.request_token(scope=scope)).code == 501051
    # An assignment of another principal to the right application does not count.
    application = await world.directory.find_identity(world.TENANT, world.APPLICATION)
    assert application is not None
    await assign_app_role(world, DEFAULT_ACCESS, principal=application.object_id)
    assert (await world.request_token(scope=scope)).code == 501051
    # An app role without a value assigns the client but adds no roles claim.
    await assign_app_role(world, DEFAULT_ACCESS)
    assert "roles" not in (await world.request_token(scope=scope)).claims()


async def test_new_credential_has_no_effect_before_the_delay(start: Start) -> None:
    world = await start(propagation_seconds=60)
    world.now = await credential_created_at(world)
    assert (await world.request_token()).code == 70025
    world.now += 59
    assert (await world.request_token()).code == 70025
    world.now += 1
    assert (await world.request_token()).status == 200


async def test_pending_credential_does_not_affect_the_active_one(start: Start) -> None:
    world = await start_with_pending_credential(start)
    assert (await world.request_token()).status == 200
    assert (await world.present(world.mint(sub="other"))).code == 700213


async def test_credential_before_its_delay_counts_as_missing(start: Start) -> None:
    """The error is that of a credential that does not match, not of an identity without credentials."""
    world = await start_with_pending_credential(start)
    world.directory._session.clear_caches()
    assert (await world.present(world.mint(sub="other"))).code == 700213


async def test_secrets_and_certificates_take_effect_immediately(start: Start) -> None:
    world = await start(propagation_seconds=60)
    await add_credentials(world)
    assert (await request_with_secret(world)).status == 200


async def start_with_pending_credential(start: Start) -> World:
    """Start a world in which one credential is in effect, and a new one is not yet."""
    world = await start(propagation_seconds=60)
    world.now = await credential_created_at(world) + 60
    identity = await world.directory.find_identity(world.TENANT, world.CLIENT)
    assert identity is not None
    new = replace(identity.credentials[0], name="new", subject="other", created=world.now, id="")
    await world.change(world.CLIENT, credentials=(*identity.credentials, new))
    return world


async def credential_created_at(world: World) -> float:
    """Return the time at which the directory stored the credential, by the directory's clock."""
    identity = await world.directory.find_identity(world.TENANT, world.CLIENT)
    assert identity is not None
    return identity.credentials[0].created
