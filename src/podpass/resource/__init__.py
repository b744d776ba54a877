"""Stage 7, protected resources: the guard that checks access tokens, and the Key Vault data plane.

In: a bearer token and a request. Out: a secret, a 401 challenge, or a 403 with the missing role.
"""
