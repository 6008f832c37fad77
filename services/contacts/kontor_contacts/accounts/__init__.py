"""Accounts: the organisations that the company has a relationship with."""
