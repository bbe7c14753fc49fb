"""Output for users and autoscalers: policy status, desired annotations, Events, explanations."""
