"""What is known of e-mail addresses and phone numbers, whoever carries them."""
