"""Tests of the model store, against a hub on loopback."""
