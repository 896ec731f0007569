"""Where a policy comes from: a shipped one, a recipe's folder or a file, and the observations it
met.
"""
