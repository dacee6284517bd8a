"""Histories of conversations in the state store: sealed, per caller, for a while."""
