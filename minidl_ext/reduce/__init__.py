"""Sums, means, maxima and moments along an axis; softmax and cross-entropy."""
