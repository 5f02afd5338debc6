"""Networks as plans, which run without Python between their steps."""
