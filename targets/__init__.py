"""Shipped data: targets."""
