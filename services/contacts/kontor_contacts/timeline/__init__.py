"""What happened with a customer, in all services."""
