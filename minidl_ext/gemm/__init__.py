"""Matrix products, and the micro-kernel that convolutions multiply with too."""
