"""Attachments: the files that belong to tickets."""
