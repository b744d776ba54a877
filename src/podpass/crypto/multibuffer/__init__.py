"""An optional plugin: Intel's multi-buffer library signs up to eight tokens together.

The process that signs loads the library and passes it to the signer; no other code imports it.
"""
