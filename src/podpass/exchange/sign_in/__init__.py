"""Sign-in of users: authorization code, device code, password, refresh token, and the sign-in pages."""
