"""Price books: what products cost, by currency, segment of customers and quantity."""
