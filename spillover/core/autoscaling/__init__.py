"""From an AdvancedHorizontalPodAutoscaler to an `Autoscaler`, or all its errors."""
