"""Dead letters: calls that failed for good, kept for a while, to be looked at and sent again.

Their bodies and headers are sealed; what tells one from another is not. Credentials are never kept.
"""

from shin_gateway.letters.keeping import Letters, LetterSettings
from shin_gateway.letters.letter import Content, Letter
from shin_gateway.letters.shelf import Shelf

__all__ = ["Content", "Letter", "LetterSettings", "Letters", "Shelf"]
