"""Keys: what access tokens are signed with."""
