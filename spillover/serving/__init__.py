"""What every service needs around its handlers: settings, HTTP plumbing, health, logs."""
