"""The two values of the chain, the float policy and the quantised one, and their NumPy
reference.
"""
