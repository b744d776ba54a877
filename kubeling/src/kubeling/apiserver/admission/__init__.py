"""Admission: built-in plugins, and calls to mutating and validating webhooks."""
