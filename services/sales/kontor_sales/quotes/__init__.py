"""Quotes: what customers are offered, in versions, and how they accept it."""
