"""Architectures, one file each; `build(in_shape, classes, width)` returns the network."""
