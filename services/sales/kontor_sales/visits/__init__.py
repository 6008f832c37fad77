"""Whom to visit, when and why: care cadences, what is known of accounts, visit plans."""
