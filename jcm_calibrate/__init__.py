"""Calibration of the model; to come."""
