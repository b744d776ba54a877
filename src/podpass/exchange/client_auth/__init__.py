"""Client authentication: federated assertion, certificate, client secret (RFC 6749 section 2.3, RFC 7521)."""
