"""The bundle: the folder an export writes, and the files in it."""
