"""Vectors, and what is computed with them for all families: exponentials, sums of rows."""
