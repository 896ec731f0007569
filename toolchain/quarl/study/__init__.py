"""Studies: how many bits which policy needs, over a grid of policies, methods, widths and seeds."""
