"""What one decision costs, on this host, on an emulated board, on a board, on a Pi."""
