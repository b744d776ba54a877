"""Signing keys of the token service: schedule, storage, rotation, and the signer."""
