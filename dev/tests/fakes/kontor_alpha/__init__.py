"""A service that does nothing but say that it is well."""
