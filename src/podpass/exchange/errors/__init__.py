"""AADSTS errors: the catalogue of all numbers, and the explanation of each."""
