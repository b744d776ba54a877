"""Get, list, watch, tables, discovery and OpenAPI."""
