"""Promotions: offers that customers take up once each, while money and time last."""
