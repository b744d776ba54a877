"""An optional plugin: Intel's multi-buffer library signs up to eight tokens at once.

The process that signs loads it and passes it to the signer; no other code imports it.
"""
