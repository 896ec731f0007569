"""What the quantiser does beyond rounding to the nearest: one frozen value, which `ladder.py` names
the useful sets of.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from quarl.quantize.widths import Widths


@dataclass(frozen=True, slots=True)
class QuantSettings:
    """What the quantiser does beyond rounding to the nearest."""

    center_head: bool = False  # subtract the mean row of an argmax head
    feature_scales: bool = False  # one scale per observation feature, folded into the first layer
    bias_correction: bool = False  # the mean error of a channel goes into its bias
    data_rounding: bool = False  # rounding chosen by least squares on the calibration
    refit: bool = False  # weights of dense layers fitted to the integers that they read
    equalize_power: float = 0.0  # hidden channels brought towards one range
    wide_head: bool = False  # int32 accumulators decide, or a 16-bit table for a squashed action
    input_bits: int = 8  # width of observations
    hidden_bits: int = 8  # width of hidden activations; above 8 as far as 2^24 allows
    # of how many of the last functions' or layers' hidden outputs are wide; None: of all
    wide_layers: int | None = None
    inner_bits: int = 8  # of the other hidden activations, where only some are wide
    input_copies: int = 1  # of the observation, for the layers that read it: finer weights
    head_copies: int = 1  # of what the last layer reads
    output_bits: int = 8  # of the last integers, where they are neither a wide head nor squashed
    weight_bits: int = 8  # of the layers between the first and the last
    edge_bits: int = 8  # weights of the first and the last layer

    def with_widths(self, widths: Widths) -> QuantSettings:
        """Return the settings with the widths that are asked for; None leaves what is there."""
        return replace(
            self,
            input_bits=widths.inputs or self.input_bits,
            hidden_bits=widths.activations or self.hidden_bits,
            output_bits=widths.output or self.output_bits,
            wide_head=self.wide_head and widths.output is None,
            weight_bits=widths.weights,
            edge_bits=widths.edges,
        )

    def of_folding(self) -> QuantSettings:
        """Return what a policy is folded by: all that says how the folded policy is rounded as it
        is by default.
        """
        return replace(self, **{name: getattr(_DEFAULT, name) for name in _OF_ROUNDING})

    def of_layers(self) -> QuantSettings:
        """Return what is done for each layer by itself, all else as it is by default."""
        return replace(_DEFAULT, **{name: getattr(self, name) for name in _OF_LAYERS})


_OF_LAYERS = ("bias_correction", "data_rounding", "refit")
_OF_ROUNDING = (
    *_OF_LAYERS,
    "wide_head",
    "hidden_bits",
    "wide_layers",
    "inner_bits",
    "output_bits",
    "weight_bits",
    "edge_bits",
)
_DEFAULT = QuantSettings()
