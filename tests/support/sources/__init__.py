"""Files of every kind that quarl reads, made here: what each is, and what becomes of it.

In: nothing but a folder. Out: `SAMPLES`, the rows of the table in toolchain/docs/sources.md.
"""

from __future__ import annotations

from tests.support.sources.chainer_files import CHAINER
from tests.support.sources.keras_files import KERAS
from tests.support.sources.onnx_files import ONNX
from tests.support.sources.picture_files import PICTURES
from tests.support.sources.rl_tools_files import RL_TOOLS
from tests.support.sources.sample import Sample
from tests.support.sources.sb3_files import SB3
from tests.support.sources.tflite_files import TFLITE
from tests.support.sources.torch_files import TORCH

SAMPLES: tuple[Sample, ...] = (*ONNX, *PICTURES, *SB3, *TORCH, *KERAS, *TFLITE, *RL_TOOLS, *CHAINER)
