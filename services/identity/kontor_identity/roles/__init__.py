"""Roles: sets of permissions with their scope."""
