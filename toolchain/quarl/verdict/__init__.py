"""The verdict: limits, checks, budgets, baseline, history, and its formats."""
