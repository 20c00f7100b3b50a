"""One file for each version; each names the one before it.

A version that has been released is never edited: a database that has it would not get the change.
"""
