"""Ticket states: where tickets can stand, in a tenant's own words."""
