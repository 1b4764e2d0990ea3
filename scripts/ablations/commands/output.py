"""The output of a command: copied to the run's log up to a limit, with its end and its last line kept."""

import os
import subprocess
import threading
from collections import deque
from typing import IO, BinaryIO

# Of the output, this much goes to the log as it comes, and this much of the end is added afterwards.
HEAD_BYTES = 8 * 1024 * 1024
TAIL_BYTES = 256 * 1024
CHUNK_BYTES = 65536


class Output:
    """Both streams of a process, read by threads until `close`."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: BinaryIO) -> None:
        self._log, self._lock = log, threading.Lock()
        self._copied = self._left_out = 0
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self._stdout = b""
        streams = [(process.stdout, True), (process.stderr, False)]
        self._threads = [
            threading.Thread(target=self._read, args=(stream, is_stdout), daemon=True)
            for stream, is_stdout in streams
            if stream is not None
        ]
        for thread in self._threads:
            thread.start()

    def _read(self, stream: IO[bytes], is_stdout: bool) -> None:
        while chunk := os.read(stream.fileno(), CHUNK_BYTES):
            with self._lock:
                self._take(chunk)
                if is_stdout:
                    self._stdout = (self._stdout + chunk)[-TAIL_BYTES:]

    def _take(self, chunk: bytes) -> None:
        if self._copied < HEAD_BYTES:
            self._copied += len(chunk)
            self._write(chunk)
            return
        self._tail.append(chunk)
        self._tail_bytes += len(chunk)
        while self._tail_bytes > TAIL_BYTES + CHUNK_BYTES:
            gone = len(self._tail.popleft())
            self._tail_bytes -= gone
            self._left_out += gone

    def _write(self, text: bytes) -> None:
        """Write to the log; where it cannot be written, the command must not wait for it."""
        try:
            self._log.write(text)
            self._log.flush()
        except OSError:
            self._copied = HEAD_BYTES

    def close(self) -> None:
        """Write the end of the output to the log, once the process and its children have ended."""
        for thread in self._threads:
            # A process that could not be ended may hold a stream open.
            thread.join(timeout=10)
        with self._lock:
            if self._left_out:
                self._write(b"\n[%d bytes of output are left out here]\n" % self._left_out)
            for chunk in self._tail:
                self._write(chunk)
            self._tail.clear()

    @property
    def last_line(self) -> str:
        """The last line of stdout that is not blank; incomplete if it is longer than TAIL_BYTES."""
        lines = self._stdout.decode("utf-8", "replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
