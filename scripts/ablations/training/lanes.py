"""Lanes: several trainings in one process, which take their steps in turn.

Each computes what it would compute in a process of its own. torch's settings are those of the whole process:
trainings that differ in them cannot share one.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Generic, TypeVar

import torch

T = TypeVar("T")
# A training that pauses after each step; its result comes last.
Steps = Generator[None, None, T]


def take_all(steps: Steps[T]) -> T:
    """Take all steps at once, and return the result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


class Lane(Generic[T]):
    """A training among others. It has random numbers and context variables of its own."""

    def __init__(self, steps: Steps[T], *, on_gpu: bool = False) -> None:
        self._steps, self._context = steps, copy_context()
        self._random = _RandomNumbers(on_gpu)
        self._result: list[T] = []

    @property
    def result(self) -> T:
        """The result of the training, after its last step."""
        return self._result[0]

    def turn(self) -> bool:
        """Take one step; False if that was the last. What a step raises ends this training alone."""
        with self._random.in_use():
            try:
                self._context.run(next, self._steps)
            except StopIteration as end:
                self._result.append(end.value)
                return False
        return True


class _RandomNumbers:
    """The states of torch's global generators that belong to one training."""

    def __init__(self, on_gpu: bool) -> None:
        self._on_host = torch.get_rng_state()
        self._generator = torch.cuda.default_generators[torch.cuda.current_device()] if on_gpu else None
        # Not its numbers, but the state as an object: a recorded graph draws from the object that was in use
        # when it was recorded, and two that are replayed at the same time must not share one.
        self._on_gpu = self._generator.clone_state() if self._generator else None

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Draw from these generators in the block."""
        torch.set_rng_state(self._on_host)
        if self._generator and self._on_gpu:
            self._generator.graphsafe_set_state(self._on_gpu)
        try:
            yield
        finally:
            self._on_host = torch.get_rng_state()
