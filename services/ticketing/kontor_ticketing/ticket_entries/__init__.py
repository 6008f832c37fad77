"""Ticket entries: what was said about tickets."""
