"""Pools over windows and over whole images."""
