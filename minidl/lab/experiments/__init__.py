"""The experiments: a file for each claim, or for a small family of claims."""
