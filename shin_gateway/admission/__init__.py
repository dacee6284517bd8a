"""Limits, budgets and places: what calls may use, reserved before and settled after, right across workers."""

from shin_gateway.admission.claims import Claim, ClaimMode, Limit, Standing, allowance, bucket, window
from shin_gateway.admission.gate import Admission, gate

__all__ = ["Admission", "Claim", "ClaimMode", "Limit", "Standing", "allowance", "bucket", "gate", "window"]
