"""Shipped data: firmware_harness."""
