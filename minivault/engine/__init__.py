"""Text from a model on this machine: many sequences in one batch, each as if it were alone."""
