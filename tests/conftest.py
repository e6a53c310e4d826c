"""What all tests rely on."""

from __future__ import annotations

import signal

from hypothesis import settings

# A shell starts background jobs with SIGINT ignored, and so may a CI; then Python installs no handler for it and its
# children ignore it too, while several tests interrupt a run as a person would.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test asserts on the machine's time, so neither does hypothesis: a loaded machine must not fail an example.
settings.register_profile("lunar", deadline=None)
settings.load_profile("lunar")
