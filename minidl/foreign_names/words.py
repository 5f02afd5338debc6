"""What several tables say."""

LAST = "channels are the last axis here"
ONE_DEVICE = "everything is computed on the CPU"
NO_VOLUMES = "nothing for volumes: nn.Conv is for images, nn.Conv1d for sequences"
