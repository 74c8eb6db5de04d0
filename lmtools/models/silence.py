"""Silencing transformers while it loads: no bars that count tensors, no reports on single tensors.

What matters of the reports is checked by ``load`` and raised as an error.
"""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silence_transformers() -> Iterator[None]:
    """No progress bars and no warnings of transformers inside."""
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
