"""What every kernel stands on: checks of arguments, memory, threads, what the CPU can do."""
