"""Sign a user in with Authlib, and read the user's claims from the endpoint in the discovery document.

AUTHORITY TENANT CLIENT USER; the password is on stdin.
"""

import asyncio
import json
import sys

import authlib
from authlib.integrations.starlette_client import OAuth


async def main(authority: str, tenant: str, client_id: str, user: str) -> None:
    client = OAuth().register(
        "podpass",
        client_id=client_id,
        server_metadata_url=f"{authority}/{tenant}/v2.0/.well-known/openid-configuration",
        client_kwargs={
            "scope": "openid profile email",
            "token_endpoint_auth_method": "none",
            "timeout": 60,
        },
    )
    metadata = await client.load_server_metadata()
    async with client._get_oauth_client(**metadata) as session:
        token = await session.fetch_token(
            metadata["token_endpoint"],
            grant_type="password",
            username=user,
            password=sys.stdin.readline().strip(),
        )
    identity = await client.parse_id_token(token, nonce=None)
    read = await client.userinfo(token=token)
    found = {
        "version": authlib.__version__,
        "endpoint": metadata["userinfo_endpoint"],
        "identity": dict(identity),
        "read": dict(read),
    }
    print(json.dumps(found))


asyncio.run(main(*sys.argv[1:]))
