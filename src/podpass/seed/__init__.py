"""Seed files: `model.py` parses and validates them, `apply.py` writes them to directory and vaults."""
