"""Client authentication by federated assertion, certificate or secret (RFC 6749 section 2.3, RFC 7521)."""
