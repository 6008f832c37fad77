"""What all tests share: a PostgreSQL server and services that run in the test's process, where they are asked for."""

pytest_plugins = ["kontor_kit.testing.plugin"]
