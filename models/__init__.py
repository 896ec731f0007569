"""Shipped data: models."""
