"""Measures the served model: the bare engine and the whole server, one to many at once.

Every measurement runs in a process of its own, so that memory and threads are its own too. This
room sits above the engine and the model store; it reaches the server only as a process.
"""
