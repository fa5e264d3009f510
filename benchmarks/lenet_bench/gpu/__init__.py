"""Timing a GPU's own work."""
