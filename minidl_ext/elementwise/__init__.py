"""Functions of single values: arithmetic, activations, dropout."""
