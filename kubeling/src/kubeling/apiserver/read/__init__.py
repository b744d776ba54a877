"""Get, list, watch, tables, discovery and OpenAPI. `listing.py` reads pages; `watch.py` streams events."""
