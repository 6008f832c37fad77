"""Segments: groups of parties, and who was in them when."""
