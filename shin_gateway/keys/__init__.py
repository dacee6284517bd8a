"""Virtual keys: keys of ours, for people, teams and programs, with rights, limits and a budget of their own."""

from shin_gateway.keys.records import KeyRecord
from shin_gateway.keys.registrar import KeyGone, KeyUnknown, Registrar
from shin_gateway.keys.ring import KeyRing

__all__ = ["KeyGone", "KeyRecord", "KeyRing", "KeyUnknown", "Registrar"]
