"""Figures for papers: means over seeds, plotted over steps or a setting."""
