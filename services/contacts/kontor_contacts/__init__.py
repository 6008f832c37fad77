"""The service contacts: accounts, contacts and how they belong together."""
