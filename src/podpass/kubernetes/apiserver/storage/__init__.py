"""Objects in SQLite, the watch cache of recent changes, and fairness between large requests."""
