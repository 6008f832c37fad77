"""Tickets: what somebody wants to be answered or done."""
