"""Parties: what marketing knows of contacts, as others tell it."""
