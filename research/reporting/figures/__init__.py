"""Figures for papers: means over seeds, along steps or over a setting."""
