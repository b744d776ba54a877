"""Client authentication (RFC 6749 section 2.3, RFC 7521): federated assertion, certificate, client secret.

Read `authenticator.py` first: it runs the checks in their order.
"""
