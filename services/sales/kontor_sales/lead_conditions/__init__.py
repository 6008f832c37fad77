"""What is said of leads in rules: which of them a rule is about."""
