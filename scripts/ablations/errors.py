"""Errors that are meant for the person at the keyboard, not for a debugger."""

import difflib
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

from ablations.readable import make_readable, readable

# In characters; a longer one repeats what a file holds.
LONGEST_SENTENCE = 3000
# CUDA's cudaErrorMemoryAllocation: no memory for what torch does not allocate itself, such as its context.
CUDA_OUT_OF_MEMORY = 2


def one_line(text: str) -> str:
    """A sentence as one line of printable letters; of one without end, the beginning and the end."""
    text = readable(text).replace("\n", r"\n").replace("\t", r"\t")
    text = re.sub(r"\S{400,}", lambda word: f"{word[0][:150]}…{word[0][-150:]}", text)
    return text if len(text) <= LONGEST_SENTENCE else f"{text[:1500]} … {text[-500:]}"


class AblationsError(Exception):
    """Something the user can put right; the message says what, where, and how, in lines that can be printed.

    What it quotes may be of any length, and hold control characters.
    """

    def __str__(self) -> str:
        return "\n".join(map(one_line, super().__str__().split("\n")))


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
    """Call `main`; whatever ends it becomes a sentence, the last line on stderr, and exit status 1.

    A traceback of the unforeseen is above that sentence in the log: in the file `log`, which collects the log
    lines as well, or without one on stderr, which is the log of a rule and no terminal.
    """
    try:
        if log is not None:
            logging.basicConfig(filename=log, level=logging.INFO, format="%(asctime)s %(message)s")
            make_readable(logging.getLogger().handlers)
            logging.captureWarnings(True)
        main()
    except BrokenPipeError:
        # Whoever read the output has seen enough, as `head` does. Nothing is to be flushed to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (Exception, KeyboardInterrupt) as error:
        sentence, foreseen = _sentence(error)
        if log is None and not foreseen and not sys.stderr.isatty():
            print(readable(traceback.format_exc()), end="", file=sys.stderr)
        if log is not None:
            if not foreseen:
                logging.exception("unforeseen")
            logging.error("error: %s", sentence)
        print(f"error: {readable(sentence)}", file=sys.stderr)
        sys.exit(130 if isinstance(error, KeyboardInterrupt) else 1)


def on_gpu_memory(error: BaseException) -> str | None:
    """A sentence, if torch found the memory of a GPU too small for a run."""
    # By their names: torch must not be imported here.
    names = {cls.__name__ for cls in type(error).__mro__}
    code = getattr(error, "error_code", None)
    if "OutOfMemoryError" not in names and ("AcceleratorError" not in names or code != CUDA_OUT_OF_MEMORY):
        return None
    # After the first numbers, torch gives others, and advice that does not help here.
    numbers = re.split(r"\. (?:Process|Including|Of the allocated|If reserved)\b|\.?\n", str(error))[0]
    return (
        f"the GPU has too little free memory for this run ({numbers}); use a smaller batch_size, let fewer "
        "runs share the GPU, or take one with more memory"
    )


def _sentence(error: BaseException) -> tuple[str, bool]:
    """What ended a script, for the person at the keyboard, and whether that needs no traceback."""
    if isinstance(error, AblationsError):
        return str(error), True
    if isinstance(error, KeyboardInterrupt):
        return "it was stopped by Ctrl-C", True
    if isinstance(error, OSError) and error.strerror:
        place = f"{Path(error.filename).absolute()}: " if isinstance(error.filename, str) else ""
        return place + error.strerror, bool(place)
    if sentence := on_gpu_memory(error):
        return sentence, True
    text = next((line for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text}".removesuffix(": "), False
