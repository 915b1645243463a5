"""What did earlier releases leave on a user's disk?

Files as they wrote them, for test_upgrading.py; `python -m tests.daemon.releases` adds today's.
"""
