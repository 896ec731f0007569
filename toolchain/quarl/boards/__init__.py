"""What a board is: a Cortex-M microcontroller or a Linux computer, read from targets/."""
