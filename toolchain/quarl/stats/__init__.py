"""Statistics: non-inferiority, sequential looks, ranks, power, intervals."""
