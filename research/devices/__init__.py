"""Devices: their memory and meshes, the compilers of the step, processes."""
