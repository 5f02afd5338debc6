"""Checks of arguments, the pool of memory, the thread budget, and what the CPU runs."""
