"""AADSTS errors: `catalogue.py` is the one table, `model.py` the error class, `explain.py` explains them."""
