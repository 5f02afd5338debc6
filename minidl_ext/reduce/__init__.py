"""Reductions along an axis, and losses, which are reductions of rows."""
