"""The predictive autoscaler: AdvancedHorizontalPodAutoscalers, by the load that Prometheus has."""
