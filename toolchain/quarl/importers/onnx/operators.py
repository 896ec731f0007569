"""What each ONNX operator means, by its name."""

from __future__ import annotations

from quarl.importers.onnx.arithmetic import ARITHMETIC
from quarl.importers.onnx.cells import CELL_OPERATORS
from quarl.importers.onnx.layers import LAYERS
from quarl.importers.onnx.shapes import SHAPES
from quarl.importers.onnx.walk import Operators

OPERATORS: Operators = {**LAYERS, **ARITHMETIC, **SHAPES, **CELL_OPERATORS}
