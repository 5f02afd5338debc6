"""Convolutions and their gradients, an algorithm a file."""
