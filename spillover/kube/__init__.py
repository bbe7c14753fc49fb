"""The API server: session, reflector, binder."""
