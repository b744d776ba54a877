"""Tables and queries of the directory. `directory.py` is the entry; each noun has a module of its own.

Each change and its audit entry are one transaction (`session.py`). `token_lookup.py` serves token requests.
"""
