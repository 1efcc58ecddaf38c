"""What a network has learned, as figures and as a page."""
