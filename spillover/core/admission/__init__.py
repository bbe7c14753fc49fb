"""The webhook's answers: changes of new pods, warnings and refusals for policies."""
