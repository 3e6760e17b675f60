"""What computes logits: one runner per family of models."""
