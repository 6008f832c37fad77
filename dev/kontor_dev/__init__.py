"""The `kontor` command: Kontor on one machine."""
