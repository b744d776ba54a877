"""Create, update, delete and subresources. `store.py` runs strategies, admission and storage."""
