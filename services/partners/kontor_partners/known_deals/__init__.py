"""What is known of customers and of the deals of the own sales force, as contacts and sales tell of them."""
