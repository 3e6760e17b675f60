"""Tests of the training script: a very small shape, some seconds."""
