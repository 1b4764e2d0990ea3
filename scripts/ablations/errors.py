"""Errors that are meant for the person at the keyboard, not for a debugger."""

import difflib
import logging
import os
import sys
from collections.abc import Callable, Iterable


class AblationsError(Exception):
    """Something the user can put right; the message says what, where, and how."""


# Words that mean one of ours, although another one is spelled more like them.
SYNONYMS = {
    "gpu": ("cuda", "device"), "cpu": ("host",), "float32": ("fp32",), "bfloat16": ("bf16",),
    "full": ("all",), "accuracy": ("test_accuracy",), "learning_rate": ("lr",), "random": ("none",),
}  # fmt: skip


def nearest(word: object, candidates: Iterable[str]) -> str:
    """A clause such as `; did you mean 'adam'?`, or nothing when no candidate is close."""
    lowered = {candidate.lower(): candidate for candidate in candidates}
    meant = [other for other in SYNONYMS.get(str(word).lower(), ()) if other in lowered]
    close = meant or difflib.get_close_matches(str(word).lower(), lowered, n=1, cutoff=0.6)
    return f"; did you mean '{lowered[close[0]]}'?" if close else ""


def run_script(main: Callable[[], None], log: str | None = None) -> None:
    """Call `main`; a user's error becomes its sentence on stderr and exit status 1.

    With `log`, that file collects the log lines and whatever ended the script, a traceback of the
    unforeseen included.
    """
    if log is not None:
        logging.basicConfig(filename=log, level=logging.INFO, format="%(asctime)s %(message)s")
        logging.captureWarnings(True)
    try:
        main()
    except AblationsError as error:
        print(f"error: {error}", file=sys.stderr)
        if log is not None:
            logging.error("error: %s", error)
        sys.exit(1)
    except BrokenPipeError:
        # Whoever read the output has seen enough, as `head` does. Nothing is to be flushed to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception:
        if log is not None:
            logging.exception("unforeseen")
        raise
