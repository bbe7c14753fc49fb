"""Forecasts the load of a workload from its days before, and decides how many replicas it needs.

Everything here is pure: no I/O, no clock, no chance. numpy is the only dependency outside the
standard library; it comes with the extra `spillover[ahpa]`.
"""
