"""Plans of whole networks, run without Python between their steps."""
