"""Workflows: what is to be computed where, what it needs, what it costs, and driving it to its end."""
