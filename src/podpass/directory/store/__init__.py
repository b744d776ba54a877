"""Tables and queries of the directory."""
