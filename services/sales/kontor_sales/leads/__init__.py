"""Those who may become customers, until they do."""
