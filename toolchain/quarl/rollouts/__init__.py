"""Episodes of a policy in its environment."""
