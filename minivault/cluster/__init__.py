"""Several whole servers behind one address, placed, routed and restarted by Ray Serve.

Only `replica.py` and `serving.py` import ray, which `pip install minivault[cluster]` brings.
"""
