"""The Raspberry Pi as a target: the agent that runs there, what it is asked, what it answers, and
the emulated Pi.
"""
