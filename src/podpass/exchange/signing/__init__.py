"""Signing keys of the token service. `schedule.py` decides which key signs; `key_set.py` applies it.

`signer.py` signs access tokens; `key_store.py` stores the keys encrypted.
"""
