"""Campaigns of faults: `python -m tests.faults --minutes 10` prints what was tried and what failed.

A small sample of each campaign runs with the tests.
"""
