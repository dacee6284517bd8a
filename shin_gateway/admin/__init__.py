"""The admin process: brings the rows of calls to analytics, and answers about calls, policies and health.

It serves no calls, so nothing here is on their way; without it rows wait in the state store.
"""
