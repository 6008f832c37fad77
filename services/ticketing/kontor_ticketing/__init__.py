"""Sales: from the first lead to the signed order."""
