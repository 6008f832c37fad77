"""Subscriptions: what parties said to topics, and what shows it."""
