"""A call taken over into its target's dialect, and its reply brought back: what `addons/translate.py` stands on."""
