"""Leads that are offered to partners."""
