"""Validation of objects, one module for each group of kinds."""
