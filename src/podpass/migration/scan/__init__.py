"""Finds the identity libraries of an image or a folder, and decides which migration step each needs.

In: files that an attacker may have written. Out: findings. Every read has a limit; no link is followed.
"""

from podpass.migration.scan.model import LibraryFinding, Report, Result
from podpass.migration.scan.scan import scan_paths

__all__ = ["LibraryFinding", "Report", "Result", "scan_paths"]
