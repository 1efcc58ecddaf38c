"""Figures of what a network has learned, and a page with all of them."""
