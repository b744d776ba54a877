"""Stage 5, the token service: exchanges a client assertion for an access token, or returns an AADSTS error.

It implements RFC 7521 and 7523 as Entra does. `docs/errors.md` lists the checks in their order. Next stage:
`resource`.
"""
