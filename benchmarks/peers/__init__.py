"""MiniVault beside other ways to serve the same model on the same processor, in one run.

Every measurement has a process of its own, one at a time; whole rounds are repeated, so that what
disturbs the machine for a while disturbs everybody. Absolute figures move from machine to machine:
the ratios are what counts.
"""
