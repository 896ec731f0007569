"""The C11 runtime and the firmware around it, as data: headers, kernels, start-up and link protocol."""
