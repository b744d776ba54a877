"""Objects in SQLite (`storage.py`), the watch cache above them, and fairness between large requests."""
