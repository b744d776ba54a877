"""AADSTS errors: the catalogue, and the explanation of each number."""
