"""The same job through TFLiteConverter, as a process of its own: weights and calibration frames in,
an int8 .tflite out.

python -m tests.bench.converter_job POLICY.zip FRAMES.npz OUT.tflite
"""

from __future__ import annotations

import sys
from pathlib import Path

from quarl.files.npz import read_npz
from quarl.graph.policy import Policy
from quarl.importers import read_policy
from quarl.study.peers import tflite_converter

if __name__ == "__main__":
    zip_path, frames, out = map(Path, sys.argv[1:])
    policy = read_policy(zip_path)
    assert isinstance(policy, Policy)
    out.write_bytes(tflite_converter(policy, read_npz(frames)["obs"]))
