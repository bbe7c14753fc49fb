"""The parts that all services share: settings, HTTP serving, health, logs."""
