"""AADSTS errors: `errors.toml` is the one table, `catalogue.py` reads it, `explanations.py` explains them."""
