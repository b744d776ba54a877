"""Validation of objects, one module per group of kinds."""
