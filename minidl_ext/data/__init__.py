"""What is done with pictures before a network sees them."""
