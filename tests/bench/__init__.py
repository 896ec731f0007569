"""What quarl promises in numbers, measured here, beside the standard tools in the same run: `make
bench`.
"""
