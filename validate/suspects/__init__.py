"""Mistakes around a model that its answers alone betray: undo each, and see whether the answers agree then.

Pure functions on arrays. A suspicion is a clause that begins with what it is consistent with; it is no proof.
"""
