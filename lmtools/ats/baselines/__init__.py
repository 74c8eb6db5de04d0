"""What a head is measured against: calibration methods that do not look at the text."""
