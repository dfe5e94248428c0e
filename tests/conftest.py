"""For every test: an interrupt means the same however the test run was started."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background job ignores SIGINT. Dagster answers SIGTERM as SIGINT is answered, so both would be ignored here and,
    # inherited, in every process that a test starts and tells to end.
    signal.signal(signal.SIGINT, signal.default_int_handler)
