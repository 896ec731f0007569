"""quarl carries a trained reinforcement-learning policy to a small board and proves that it still
plays.
"""

__version__ = "0.1.0"
