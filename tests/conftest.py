"""What all tests need."""

import signal

# Where the tests are started in the background, interrupts are ignored; so they would be in the
# processes that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
