"""Commissions: what the company's own agents get of what customers pay."""
