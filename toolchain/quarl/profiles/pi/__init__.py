"""What one decision costs on a Raspberry Pi."""
