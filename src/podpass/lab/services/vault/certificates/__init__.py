"""Certificates of a vault: X.509 certificates with their keys, made by policy, merged or imported."""
