"""What all tests rely on."""

from __future__ import annotations

import signal

from hypothesis import settings

# A shell starts background jobs with SIGINT ignored, nohup ignores SIGHUP, and a CI may do either. Children inherit
# what is ignored, while several tests interrupt a run as a person would. What has a handler is not inherited.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda signum, frame: None)

# No test asserts on the machine's time, so neither does hypothesis: a loaded machine must not fail an example.
settings.register_profile("lunar", deadline=None)
settings.load_profile("lunar")
