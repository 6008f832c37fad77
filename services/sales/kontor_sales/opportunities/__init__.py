"""Opportunities: the chances to sell something to somebody."""
