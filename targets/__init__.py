"""Boards as data: one folder each, with one board.toml."""
