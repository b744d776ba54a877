"""Backup and restore: one file format for both databases. A damaged file is refused as a whole."""
