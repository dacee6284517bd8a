"""For all tests."""

from __future__ import annotations

import signal

for _ignored in (signal.SIGINT, signal.SIGHUP):
    # Who is started in the background, or by nohup, ignores these, and so would all that the tests start and signal.
    if signal.getsignal(_ignored) is signal.SIG_IGN:
        signal.signal(_ignored, signal.default_int_handler if _ignored is signal.SIGINT else signal.SIG_DFL)
