"""Sign-in of users: authorization code, device code, refresh token, and the pages."""
