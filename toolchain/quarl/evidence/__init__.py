"""Evidence that the int8 policy is its source's equal: gathered, stored, read."""
