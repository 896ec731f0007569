"""From a policy to a bundle: the rung that keeps its return, and the files of an export."""
