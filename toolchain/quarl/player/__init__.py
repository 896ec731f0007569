"""A policy played and filmed."""
