"""From float policy and observations to integers: calibration, transforms, rounding, the ladder."""
