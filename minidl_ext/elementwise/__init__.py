"""Functions of single values: arithmetic, activations, random numbers."""
