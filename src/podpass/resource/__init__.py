"""Stage 7, protected resources: the guard that checks the access token of a request to an API.

In: a bearer token. Out: the caller, or a 401 challenge. The vault is a service of the lab.
"""
