"""The C11 runtime and its firmware as data: headers, kernels, start-up and link protocol."""
