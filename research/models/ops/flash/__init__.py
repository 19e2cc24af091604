"""Attention in two kernels that do not store the scores, for GPUs and TPUs."""
