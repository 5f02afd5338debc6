"""Vectors of a register's width, sums of rows and columns, exp, log and tanh."""
