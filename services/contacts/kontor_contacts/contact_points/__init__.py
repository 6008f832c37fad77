"""E-mail addresses, phone numbers and postal addresses, which accounts and contacts have in common."""
