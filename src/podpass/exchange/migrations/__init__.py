"""The versions of the token service's tables, one script each."""
