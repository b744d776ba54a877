"""Sign-in of users: authorization code, device code, refresh token, and the pages.

Read `sign_in.py` first: it decides each grant. `app.py` is the edge.
"""
