"""Objects in SQLite, the watch cache above them, and fairness between large requests."""
