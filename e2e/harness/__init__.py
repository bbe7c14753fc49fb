"""Runs Spillover on a real control plane without containers, from what manifests/ declares.

It knows Spillover only by its manifests and its API objects, never by its code.
"""
