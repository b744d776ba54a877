"""Backups of a local instance: its database as in a cluster, and its files."""
