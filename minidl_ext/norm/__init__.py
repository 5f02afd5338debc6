"""Normalizations and their gradients; what each file computes, see README.md."""
