"""Cryptography: JOSE tokens and keys, a cache of an issuer's keys, encryption of stored values, secrets."""
