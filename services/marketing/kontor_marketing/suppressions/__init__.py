"""Suppressions: who is not to be contacted, and why."""
