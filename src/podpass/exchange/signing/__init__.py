"""The signing keys of the token service: schedule, storage and rotation; and the signer of tokens."""
