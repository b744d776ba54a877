"""Get, list and watch requests, tables, discovery and OpenAPI."""
