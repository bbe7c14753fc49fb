"""Keeps the webhook's certificates: creates them, stores them, makes the API server trust them."""
