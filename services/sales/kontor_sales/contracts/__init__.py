"""Contracts: agreements that last, their terms, notice and renewal."""
