"""Queues: where tickets wait, and who gets which."""
