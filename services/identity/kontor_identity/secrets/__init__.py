"""Secrets: what service accounts prove themselves with."""
