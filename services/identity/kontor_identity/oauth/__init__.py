"""OAuth 2.0: how people and programs get access tokens."""
