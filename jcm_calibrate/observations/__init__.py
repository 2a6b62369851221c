"""What is compared: the observation vector, its operators, errors, files and packaged data."""
