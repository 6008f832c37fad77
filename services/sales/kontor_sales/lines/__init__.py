"""Lines: what is sold in opportunities, quotes and orders, and what it comes to."""
