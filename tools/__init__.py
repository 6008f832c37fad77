"""Checks of the tree that no ready-made tool brings; the Makefile calls them."""
