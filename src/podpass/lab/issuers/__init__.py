"""Issuers outside the instance that its user has named in a seed: where their documents are.

`registry` stores them, `seed` reads them from a seed file, `fetcher` fetches their documents for the token
service.
"""
