"""Pipelines: the ways that opportunities go, stage by stage."""
