"""Primitives with hand-written derivatives, each the same function as the plain formula."""
