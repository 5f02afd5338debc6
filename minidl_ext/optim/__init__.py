"""Updates of parameters by the rules of optimizers, in place."""
