"""Tenants: the companies that work on the platform."""
