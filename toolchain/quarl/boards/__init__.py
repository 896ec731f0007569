"""What a board is: a microcontroller or a Linux computer, and the cores they have."""
