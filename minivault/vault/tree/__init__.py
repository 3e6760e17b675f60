"""The log's Merkle tree beside its chain: it proves that a record is there, without the others.

Its entries are the hashes of the lines: it holds no text, and a redaction leaves it as it is.
"""
