"""Priority matrices: how tickets get their priority."""
