"""Distillation: integers that learn to decide as their float source does, exact as they are."""
