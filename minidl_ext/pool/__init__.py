"""Pools over windows of images, and over all positions of an image."""
