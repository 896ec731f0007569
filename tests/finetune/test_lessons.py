"""Lessons are dealt once each, with what the source does there, and images are held once."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from quarl.finetune.lessons import Deck, Lessons  # noqa: E402
from quarl.finetune.student import Student, settings_of  # noqa: E402
from quarl.quantize.calibration import calibrate  # noqa: E402
from quarl.quantize.widths import Widths  # noqa: E402
from tests.quantize.test_widths import sources  # noqa: E402
from tests.support.samples import observations  # noqa: E402

rng = np.random.default_rng


def numbered(first: int, count: int) -> np.ndarray:
    return np.arange(first, first + count, dtype=np.float32)[:, None]


def test_every_lesson_of_every_part_is_dealt_once_with_its_answer() -> None:
    lessons = Lessons(lambda obs: 10 * obs)
    for first, count in ((0, 7), (7, 1), (8, 12)):
        lessons.add(numbered(first, count))
    deck = Deck(lambda obs: obs, rng(3))
    deck.refresh(lessons)
    hands = [deck.deal(5) for _ in range(4)]
    inputs = torch.cat([inputs for inputs, _ in hands])
    assert sorted(inputs[:, 0].tolist()) == list(range(20))
    assert torch.equal(torch.cat([outputs for _, outputs in hands]), 10 * inputs)


def test_lessons_that_come_later_are_dealt_too() -> None:
    lessons = Lessons(lambda obs: obs)
    lessons.add(numbered(0, 4))
    deck = Deck(lambda obs: obs, rng(4))
    deck.refresh(lessons)
    deck.deal(2)
    lessons.add(numbered(4, 4))
    deck.refresh(lessons)
    assert sorted(deck.deal(8)[0][:, 0].tolist()) == list(range(8))


def test_a_student_reads_pixels_where_they_lie() -> None:
    source = sources()["convolution"]
    obs = observations(source, rng(5), 16)
    student = Student(source, calibrate(obs, source.contract), settings_of(Widths(8, 8, 8)))
    offsets = student.offsets(obs)
    assert np.shares_memory(offsets, obs)
    tensor = student.observation.tensor
    wanted = student.observation.quantize(source.contract.observation.to_graph(obs))
    assert np.array_equal(offsets, wanted - tensor.zero_point)
