"""Campaigns: one mail to everybody in some segments who wants it."""
