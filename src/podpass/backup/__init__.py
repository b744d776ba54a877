"""Backups of what podpass keeps: one file for either database, read whole or refused whole."""
