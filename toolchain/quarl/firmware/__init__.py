"""From a quantised policy to C and to a firmware image.

QuantPolicy -> Program -> C text            lower, render
C text + Board -> start-up, linker script   image
sources + compiler -> ELF                   build
"""
