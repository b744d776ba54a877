"""The permissions of each served operation by the Microsoft Graph v1.0 reference, as literals.

podpass's own table must agree with this one; the tests do not read podpass's table.
Source: https://learn.microsoft.com/graph/api/overview (section Permissions of each operation)
"""

from typing import NamedTuple

NONE_NEEDED = "no permission"
USERS_ONLY = "users only"

# Every application permission that the service principal of Graph offers.
EVERY_PERMISSION = (
    "Application.Read.All",
    "Application.ReadWrite.All",
    "Application.ReadWrite.OwnedBy",
    "AppRoleAssignment.ReadWrite.All",
    "Directory.Read.All",
    "Directory.ReadWrite.All",
    "User.Read.All",
    "User.ReadWrite.All",
    "Group.Read.All",
    "Group.ReadWrite.All",
    "Organization.Read.All",
    "Domain.Read.All",
    "Policy.Read.All",
    "RoleManagement.ReadWrite.Directory",
    "DelegatedPermissionGrant.ReadWrite.All",
    "RoleManagement.Read.Directory",
)


class Row(NamedTuple):
    """One operation of the reference.

    `{id}` in `path` is any ID. Each of `allowed` is sufficient; `A and B` means both together.
    """

    method: str
    path: str
    allowed: tuple[str, ...]
    writes: bool


def _rows(text: str) -> list[Row]:
    rows = []
    for line in text.strip().splitlines():
        method, path, allowed = (part.strip() for part in line.split("|"))
        reads = method == "GET" or path.endswith(("Groups", "Objects", "getByIds", "userinfo"))
        rows.append(Row(method, path, tuple(_names(allowed)), not reads))
    return rows


_SHORT = {
    "openid": "openid",  # a scope of users; applications cannot have it
    "A.R": "Application.Read.All",
    "A.W": "Application.ReadWrite.All",
    "A.O": "Application.ReadWrite.OwnedBy",
    "D.R": "Directory.Read.All",
    "D.W": "Directory.ReadWrite.All",
    "R.W": "AppRoleAssignment.ReadWrite.All",
    "G.W": "DelegatedPermissionGrant.ReadWrite.All",
    "U.R": "User.Read.All",
    "U.W": "User.ReadWrite.All",
    "Gr.R": "Group.Read.All",
    "Gr.W": "Group.ReadWrite.All",
    "Org.R": "Organization.Read.All",
    "Dom.R": "Domain.Read.All",
    "-": NONE_NEEDED,
    "me": USERS_ONLY,
}


def _names(text: str) -> list[str]:
    return [" and ".join(_SHORT[short] for short in part.split("+")) for part in text.split()]


REFERENCE = _rows(
    """
    GET    | /applications                                       | A.R A.W A.O D.R D.W
    POST   | /applications                                       | A.W A.O
    GET    | /applications/$count                                | A.R A.W A.O D.R D.W
    GET    | /applications/{id}                                  | A.R A.W A.O D.R D.W
    PATCH  | /applications/{id}                                  | A.W A.O
    DELETE | /applications/{id}                                  | A.W A.O
    POST   | /applications/{id}/addPassword                      | A.W A.O
    POST   | /applications/{id}/removePassword                   | A.W A.O
    POST   | /applications/{id}/addKey                           | A.W A.O -
    POST   | /applications/{id}/removeKey                        | A.W A.O -
    GET    | /applications/{id}/owners                           | A.R A.W A.O D.R D.W
    POST   | /applications/{id}/owners/$ref                      | A.W+D.R A.O+D.R D.W
    DELETE | /applications/{id}/owners/{id}/$ref                 | A.W A.O
    GET    | /applications/{id}/federatedIdentityCredentials     | A.R A.W A.O
    POST   | /applications/{id}/federatedIdentityCredentials     | A.W A.O
    GET    | /applications/{id}/federatedIdentityCredentials/{id} | A.R A.W A.O
    PATCH  | /applications/{id}/federatedIdentityCredentials/{id} | A.W A.O
    DELETE | /applications/{id}/federatedIdentityCredentials/{id} | A.W A.O
    GET    | /servicePrincipals                                  | A.R A.W A.O D.R D.W
    POST   | /servicePrincipals                                  | A.W A.O
    GET    | /servicePrincipals/$count                           | A.R A.W A.O D.R D.W
    GET    | /servicePrincipals/{id}                             | A.R A.W A.O D.R D.W
    PATCH  | /servicePrincipals/{id}                             | A.W A.O D.W
    DELETE | /servicePrincipals/{id}                             | A.W A.O
    POST   | /servicePrincipals/{id}/addPassword                 | A.W A.O
    POST   | /servicePrincipals/{id}/removePassword              | A.W A.O
    POST   | /servicePrincipals/{id}/addKey                      | A.W A.O -
    POST   | /servicePrincipals/{id}/removeKey                   | A.W A.O -
    GET    | /servicePrincipals/{id}/owners                      | A.R A.W A.O D.R D.W
    POST   | /servicePrincipals/{id}/owners/$ref                 | A.W+D.R A.O+D.R D.W
    DELETE | /servicePrincipals/{id}/owners/{id}/$ref            | A.W A.O
    GET    | /servicePrincipals/{id}/ownedObjects                | A.R A.W A.O D.R D.W
    GET    | /servicePrincipals/{id}/appRoleAssignments          | A.R A.W A.O D.R D.W
    POST   | /servicePrincipals/{id}/appRoleAssignments          | R.W+A.R R.W+A.W R.W+D.R R.W+D.W
    GET    | /servicePrincipals/{id}/appRoleAssignments/{id}     | A.R A.W A.O D.R D.W
    DELETE | /servicePrincipals/{id}/appRoleAssignments/{id}     | R.W
    GET    | /servicePrincipals/{id}/appRoleAssignedTo           | A.R A.W A.O D.R D.W
    POST   | /servicePrincipals/{id}/appRoleAssignedTo           | R.W+A.R R.W+A.W R.W+D.R R.W+D.W
    GET    | /servicePrincipals/{id}/appRoleAssignedTo/{id}      | A.R A.W A.O D.R D.W
    DELETE | /servicePrincipals/{id}/appRoleAssignedTo/{id}      | R.W
    GET    | /servicePrincipals/{id}/memberOf                    | A.R A.W D.R D.W
    GET    | /servicePrincipals/{id}/transitiveMemberOf          | A.R A.W D.R D.W
    GET    | /servicePrincipals/{id}/oauth2PermissionGrants      | G.W D.R D.W
    POST   | /servicePrincipals/{id}/checkMemberGroups           | A.R A.W D.R D.W
    POST   | /servicePrincipals/{id}/getMemberGroups             | A.R A.W D.R D.W
    POST   | /servicePrincipals/{id}/getMemberObjects            | A.R A.W D.R D.W
    GET    | /me                                                 | me
    GET    | /me/ownedObjects                                    | me
    GET    | /me/ownedObjects/application                        | me
    GET    | /me/ownedObjects/servicePrincipal                   | me
    GET    | /me/memberOf                                        | me
    GET    | /me/transitiveMemberOf                              | me
    GET    | /oidc/userinfo                                      | openid
    POST   | /oidc/userinfo                                      | openid
    GET    | /users                                              | U.R U.W D.R D.W
    POST   | /users                                              | U.W D.W
    GET    | /users/{id}                                         | U.R U.W D.R D.W
    PATCH  | /users/{id}                                         | U.W D.W
    DELETE | /users/{id}                                         | U.W
    GET    | /users/{id}/memberOf                                | U.R U.W D.R D.W
    POST   | /users/{id}/getMemberGroups                         | U.R+Gr.R D.R D.W
    GET    | /users/{id}/appRoleAssignments                      | D.R D.W R.W
    POST   | /users/{id}/appRoleAssignments                      | R.W+A.R R.W+A.W R.W+D.R R.W+D.W
    GET    | /groups                                             | Gr.R Gr.W D.R D.W
    GET    | /groups/{id}                                        | Gr.R Gr.W D.R D.W
    GET    | /organization                                       | Org.R D.R D.W
    GET    | /organization/{id}                                  | Org.R D.R D.W
    GET    | /domains                                            | Dom.R D.R D.W
    GET    | /domains/{id}                                       | Dom.R D.R D.W
    GET    | /oauth2PermissionGrants                             | G.W D.R D.W
    POST   | /oauth2PermissionGrants                             | G.W D.W
    GET    | /oauth2PermissionGrants/{id}                        | G.W D.R D.W
    PATCH  | /oauth2PermissionGrants/{id}                        | G.W D.W
    DELETE | /oauth2PermissionGrants/{id}                        | G.W D.W
    POST   | /directoryObjects/getByIds                          | A.R A.W D.R D.W
    GET    | /directoryObjects/{id}                              | A.R A.W D.R D.W
    POST   | /directoryObjects/{id}/checkMemberGroups            | D.R D.W
    POST   | /directoryObjects/{id}/getMemberGroups              | D.R D.W
    GET    | /directory/deletedItems/application                 | A.R A.W D.R D.W
    GET    | /directory/deletedItems/servicePrincipal            | A.R A.W D.R D.W
    GET    | /directory/deletedItems/{id}                        | A.R A.W D.R D.W
    DELETE | /directory/deletedItems/{id}                        | A.W A.O
    """
)
