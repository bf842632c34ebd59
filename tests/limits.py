"""What a test takes away for a while."""

import resource
from contextlib import contextmanager


@contextmanager
def full_disk(most=100):
    """No file can grow beyond ``most`` bytes."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
