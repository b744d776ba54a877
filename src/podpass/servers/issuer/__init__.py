"""The process that serves the published documents of an issuer."""
