"""Programmes: the levels that partners are at, what each asks for, and what it gives."""
