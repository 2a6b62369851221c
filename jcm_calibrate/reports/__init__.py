"""What a calibration leaves: its files, figures and the page."""
