"""One story through all services, as one list of steps: played for people, and in the tests."""
