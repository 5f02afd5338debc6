"""The experiments of the lab, one in each file, which is named after its id and its subject."""
