"""Example networks and loaders of data."""
